"""The demo catalog: synthesized, tagged music in four file formats."""
