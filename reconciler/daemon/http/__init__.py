"""What a daemon serves over HTTP: probes and metrics, the webhook, and an interface to read and to change by hand.

May live here: listening, who may ask, what is asked and answered, and the limits of all of it. Hostile input is normal:
every size, number and time is bounded before memory is spent on it. Must not know: any technology behind a port, or how
something is decided; what is changed is changed by the engine, as the command line does.
"""

from reconciler.daemon.http.inside import Inside
from reconciler.daemon.http.server import Listening, served

__all__ = ["Inside", "Listening", "served"]
