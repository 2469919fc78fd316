"""The query language: how text is read, what records are asked about, and what a query answers. Part of the pure core.

Must not know: any registry. A registry compiles the AST of model.query its own way and answers as `evaluator` does,
about the facts and words that `facts` and `words` make of a record. Now is a parameter.
"""
