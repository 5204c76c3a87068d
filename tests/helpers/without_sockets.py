"""A program that runs a segpipe command and ends with status 7 where anything opens a socket."""

WITHOUT_SOCKETS = (
    "import os, socket, sys\n"
    "def refuse(*_, **__): os._exit(7)\n"
    "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
    "from segpipe.cli import main\n"
    "sys.argv = ['segpipe', *sys.argv[1:]]\n"
    "sys.exit(main())\n"
)
