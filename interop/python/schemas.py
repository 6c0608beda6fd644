"""capspan's schemas, as pycapnp loads them: there is no code to generate for Python."""

from pathlib import Path

import capnp

ROOT = Path(__file__).resolve().parents[2]

SCHEMA = str(ROOT / "schema")

# Where imports that begin with a slash are looked for: pycapnp brings `capnp/c++.capnp` and `capnp/stream.capnp`,
# capspan the rest. A service's own schema imports capspan's as "/pipeline.capnp".
IMPORTS = [str(Path(capnp.__file__).resolve().parents[1]), SCHEMA]

pipeline = capnp.load(SCHEMA + "/pipeline.capnp", imports=IMPORTS)

# The application's own: what a session is about.
greeter = capnp.load(str(ROOT / "testkit" / "schema" / "greeter.capnp"), imports=IMPORTS)
