# Sourced by the scripts beside it: one virtual environment, made once and used again.
# Usage: source scripts/environment.sh EXTRA[,EXTRA]

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="${EMBEDMERGE_VENV:-$root/.venv}"

stop() {
    echo "embedmerge: $1" >&2
    exit 2
}

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
        [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 || continue
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$candidate" && return
    done
    return 1
}

require_disk() {
    local free_kb
    free_kb="$(df -Pk "$root" | awk 'NR == 2 { print $4 }')"
    [ "$free_kb" -ge 4000000 ] || stop "only $((free_kb / 1024)) MiB free under $root; the libraries take about 3 GB"
}

install_environment() {
    local extras="$1" python stamp wanted
    # The stamp says what was installed, so a second run goes straight on and a changed list installs again.
    stamp="$venv/.installed-$extras"
    wanted="$(cat "$root/pyproject.toml" "$root/constraints.txt" | sha256sum)"
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && [ -x "$venv/bin/python" ] && return
    python="$(find_python)" || stop "Python 3.11 or newer is needed; found $(python3 --version 2>&1). Set PYTHON to one."
    require_disk
    if [ ! -x "$venv/bin/python" ]; then
        "$python" -m venv "$venv" || stop "could not make $venv; on Debian install python3-venv"
    fi
    echo "embedmerge: installing into $venv (some minutes the first time)" >&2
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        --constraint "$root/constraints.txt" --editable "$root[$extras]" ||
        stop "pip could not install the libraries; its message is above"
    echo "$wanted" >"$stamp"
}

install_environment "$1"
export TOKENIZERS_PARALLELISM=false
