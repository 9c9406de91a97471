"""One folder per paper; the folder's name is its registration."""

if __name__ != "simcore.models":
    raise ImportError(
        f"this folder is installed as simcore.models; import that, not {__name__!r} (two names would make two "
        "sets of classes)"
    )
