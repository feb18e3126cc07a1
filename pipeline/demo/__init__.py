"""The demonstration catalog: synthesized music with tags, in files of four formats."""
