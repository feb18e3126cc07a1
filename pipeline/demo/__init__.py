"""The demonstration catalog: synthesised music with tags, in files of four formats."""
