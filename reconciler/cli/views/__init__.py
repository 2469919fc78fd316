"""Views: values in, text out, for people (text), programs (JSON, SARIF, JUnit) and pull requests (markdown).

Must not know: the engine, adapters, streams or terminals. A view never prints and never masks: secrets are masked
in the values that it is given.
"""
