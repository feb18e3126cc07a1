"""Formats: what FFmpeg may take a file for; `pipeline.catalogs.selection` has the extensions of these."""

FORMATS = (
    "aac,ac3,aea,aiff,amr,ape,asf,au,avi,bonk,caf,dsf,dts,dtshd,eac3,flac,flv,iff,loas,matroska,mlp,"
    "mov,mp3,mpc,mpc8,mpeg,mpegts,oma,ogg,osq,rm,shn,spdif,tak,truehd,tta,voc,w64,wav,wv,xwma"
)
"""FFmpeg's names, separated by commas. Playlists and scripts are left out: they would open other files."""
