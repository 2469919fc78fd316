"""The process that stays: triggers say "look again", one loop looks and has done what the plan says.

Must not know: adapters, the command line, or how anything is decided; plans and changes are the engine's.
"""
