"""Formats that FFmpeg may detect, and extensions of the files that the decoders read."""

FORMATS = ",".join(
    (
        "aac,ac3,aea,aiff,amr,ape,asf,au,avi,bonk,caf,dsf,dts,dtshd,eac3,flac,flv,iff,loas,matroska,mlp,mov,mp3",
        "mpc,mpc8,mpeg,mpegts,oma,ogg,osq,rm,shn,spdif,tak,truehd,tta,voc,w64,wav,wv,xwma",
    )
)
"""FFmpeg's format whitelist. Playlists and scripts are not on it: they would open other files."""

AUDIO_EXTENSIONS = frozenset(
    " ".join(
        (
            "wav wave bwf amb w64 rf64 aif aiff aifc au snd caf caff voc 8svx svx",
            "avr ircam sf nist sph paf pvf",
            "flac fla alac ape apl mac wv tta tak shn bonk osq dsf dff",
            "mp1 mp2 mp3 mpa mpga m1a m2a aac adts loas latm mpc mp+ mpp",
            "ogg oga ogx ogm ogv opus spx",
            "ac3 ec3 eac3 dts dtshd mlp thd truehd",
            "m4a m4b m4p m4r m4v mp4 mov qt f4a f4b f4v 3gp 3gpp 3g2 3gp2 3ga amr awb isma ismv",
            "wma wmv asf xwma oma omg aa3 at3 aea ra rm rmvb",
            "mka mkv mk3d webm weba avi flv ts mts m2t m2ts mpg mpeg vob",
        )
    ).split()
)
"""Lower-case extensions, without the dot, of files to try; their content then decides."""
