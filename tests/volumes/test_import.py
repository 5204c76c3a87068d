"""Reading a scan must not wait for torch and MONAI to be imported."""

import subprocess
import sys


def test_importing_volumes_imports_neither_torch_nor_monai():
    script = "import segpipe.volumes, sys; sys.exit(bool({'torch', 'monai'} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
