"""The command line: what people type, and what they read.

For: parsing arguments, asking, showing, exit codes. One module a command in `commands/`, imported when it is typed;
`views/` turn values into text. Must not know: adapters, or how a plan is made or carried out: that is asked of
`bootstrap` and `engine`. Start-up stays light: heavy imports stand inside the functions that need them.
"""
