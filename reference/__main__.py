"""`python -m reference <service>`, in a directory that holds the service's config.json."""

import sys

from reference.service import SERVICES, main

if len(sys.argv) != 2 or sys.argv[1] not in SERVICES:
    print(f"usage: python -m reference {'|'.join(SERVICES)}", file=sys.stderr)
    raise SystemExit(2)
main(sys.argv[1])
