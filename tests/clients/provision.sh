#!/usr/bin/env bash
# Puts the tools of the client checks into a folder: npm packages below node_modules, Python ones below venv.
#
#   tests/clients/provision.sh [FOLDER]     FOLDER: target/ci unless told
#
# Does nothing when the folder already has them. Needs node (20 or later), npm and python3 with venv.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-${LATTICE_CLIENT_TOOLS:-${CARGO_TARGET_DIR:-$here/../../target}/ci}}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

for tool in node npm python3; do
  command -v "$tool" >/dev/null || { echo "provision: $tool is missing; install it and run this again" >&2; exit 1; }
done

wanted=$(cat "$here/package.json" "$here/requirements.txt" | sha256sum)
if [ "$(cat "$folder/provisioned" 2>/dev/null)" = "$wanted" ]; then
  echo "client tools are in $folder" >&2
  exit 0
fi

cp "$here/package.json" "$folder/"
# The foundry packages find their binary at run time, so no package needs to run scripts while it is installed.
npm install --prefix "$folder" --no-package-lock --ignore-scripts --no-audit --no-fund --loglevel=error >&2
[ -x "$folder/venv/bin/python" ] || python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$here/requirements.txt" >&2
echo "$wanted" >"$folder/provisioned"
echo "client tools are in $folder" >&2
