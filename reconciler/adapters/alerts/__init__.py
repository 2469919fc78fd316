"""Sinks: sending notifications to webhooks, Slack, PagerDuty, Alertmanager, mail servers and what Apprise knows.

Must not know: what is an alert, who is told what, or how notifications are kept. Addresses and keys come from the
environment, are sent where they belong, and stand in no text that leaves this folder.
"""

from reconciler.adapters.alerts.opening import open_sink

__all__ = ["open_sink"]
