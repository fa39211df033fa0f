"""A bot as a zip for a function service: the same bytes for the same input, and only what the bot needs.

    target.py        the services: Python versions, machines, limits, how the handler is named
    entry.py         where a bot's App is found, and the module that the service calls
    own.py           the bot's folder, without what does not belong into a package
    requirements.py  what the bot names in requirements.txt; Legato's own extras among it
    wheels.py        libraries for another machine, by pip or uv
    imports.py       whether what the bot imports is there
    paths.py         what of a folder is Python's, and whether a module says where others are
    elf.py           for which machine and C library a shared object was made
    bytecode.py      .pyc files that are not looked at twice
    archive.py       a zip that is the same each time, and its size
    build.py         all of it
    configs.py       what to tell Yandex and Google
    shell.py         lines of such scripts

Nothing of it runs in a function.
"""
