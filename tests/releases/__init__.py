"""Tables as each release wrote them, with the model that made their labels, and the catalog they are of.

``python -m tests.releases VERSION`` adds a release's folder, by the installed ``earmark``. That is done once,
when the release is made, and never again: what is there stands for what users have on their disks.
"""
