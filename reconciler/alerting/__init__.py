"""Alerting: from what is the case to who is told of it, as values. Alerts in, notifications out.

For: what counts as an alert, routes, groups, silences, inhibition by the root cause, repetition, and the words.
Must not know: how anything is sent or kept, receivers' formats, the clock; times come in as arguments.
"""

from reconciler.alerting.deciding import Decision, Outlook, decide
from reconciler.alerting.matching import matches, routes_of, silenced

__all__ = ["Decision", "Outlook", "decide", "matches", "routes_of", "silenced"]
