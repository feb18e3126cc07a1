"""Formats: what FFmpeg may take a file for, and what the names of files of these formats end with."""

FORMATS = ",".join(
    (
        *(
            "aac",
            "ac3",
            "aea",
            "aiff",
            "amr",
            "ape",
            "asf",
            "au",
            "avi",
            "bonk",
            "caf",
            "dsf",
            "dts",
            "dtshd",
        ),
        *("eac3", "flac", "flv", "iff", "loas", "matroska", "mlp", "mov", "mp3", "mpc", "mpc8", "mpeg"),
        *(
            "mpegts",
            "oma",
            "ogg",
            "osq",
            "rm",
            "shn",
            "spdif",
            "tak",
            "truehd",
            "tta",
            "voc",
            "w64",
            "wav",
            "wv",
            "xwma",
        ),
    )
)
"""What FFmpeg may take a file for. Playlists and scripts are left out: they would open other files."""

EXTENSIONS = frozenset(
    {
        # PCM and DSD
        *(".wav", ".wave", ".bwf", ".w64", ".rf64", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".voc"),
        *(".8svx", ".dsf", ".dff"),
        # lossless codecs
        *(".flac", ".fla", ".alac", ".ape", ".wv", ".tta", ".tak", ".shn", ".bonk", ".osq"),
        # MPEG
        *(".mp1", ".mp2", ".mp3", ".mpa", ".m2a", ".mpga", ".mpg", ".mpeg", ".vob", ".ts", ".m2ts", ".mts"),
        *(".aac", ".adts", ".loas", ".latm", ".mp4", ".m4a", ".m4b", ".m4r", ".m4p", ".m4v", ".f4a", ".f4b"),
        *(".3gp", ".3gpp", ".3g2", ".mov", ".qt"),
        # Xiph
        *(".ogg", ".oga", ".ogx", ".ogv", ".opus", ".spx"),
        # surround
        *(".ac3", ".eac3", ".ec3", ".dts", ".dtshd", ".mlp", ".thd", ".truehd"),
        # others
        *(".mka", ".mkv", ".webm", ".weba", ".wma", ".asf", ".wmv", ".xwma", ".avi", ".flv", ".amr"),
        *(".mpc", ".mp+", ".mpp", ".ra", ".rm", ".rmvb", ".oma", ".aa3", ".at3", ".aea"),
    }
)
"""Lower-case extensions of files that the decoders read; whether one does is decided by its content alone."""
