"""Charts: an agent as a Helm chart, path -> text, for people who install with Helm.

For: the values, templates and schema of a chart whose default objects are those of `render`.
Must not know: where files are written, releases, what Helm does with them.
"""

from reconciler.render.chart.chart import chart

__all__ = ["chart"]
