"""Tables written by each release, with the model that made their labels.

``python -m tests.releases VERSION`` adds the folder of a release with the installed ``earmark``. Run it once,
when the release is made: the folder represents what users have on their disks, and must not change.
"""
