"""How our values look as JSON: what `-o json` prints and the HTTP interface answers, so that both say the same.

May live here: one TypedDict a shape, which is also what schemas of answers are made of, and the function that fills it.
Must not know: who asks, by which way, or where values come from.
"""
