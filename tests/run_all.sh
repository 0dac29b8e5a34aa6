#!/usr/bin/env bash
# The whole suite: style, types, and the tests on three backends and two releases of Keras, on the built wheel.
#
# On the newest Keras, PyTorch runs every test, and JAX and TensorFlow those that are marked `every_backend`: of a test that
# has many cases JAX runs one half and TensorFlow the other, and each family of KerasHub runs on one of the three.
# ATTNSCOPE_EVERY_CASE=1 runs each on all. The oldest Keras that is supported runs what touches Keras' insides, on one
# backend each, so that each backend meets it.
set -uo pipefail
cd "$(dirname "$0")/.."
VENV=${VENV:-.venv}
OLDEST=${OLDEST:-.venv-oldest}
export TF_CPP_MIN_LOG_LEVEL=3
failed=()

step() {
    echo "=== $1"
    shift
    local start=$SECONDS
    "$@" || failed+=("$*")
    echo "--- $((SECONDS - start)) s"
}

rm -rf dist
step "wheel" "$VENV/bin/python" -m build --quiet --wheel --no-isolation
"$VENV/bin/pip" install --quiet --no-deps --force-reinstall dist/*.whl || failed+=("install the wheel")

# The tests of pages need a browser, which no package of Python's brings. Without one they are skipped, and all else runs.
browser() {
    "$VENV/bin/python" -c 'import sys; sys.path.insert(0, "tests"); import browser; sys.exit(not browser.browser_path())'
}
without_browser() {
    echo "NO BROWSER: there is no Chromium on this machine, so the tests of the viewer's pages are SKIPPED."
    echo "To run them: apt install chromium, or put chromium or google-chrome on the PATH."
}
if ! browser && [[ $(id -u) == 0 ]] && command -v apt-get > /dev/null; then
    echo "=== browser"
    { apt-get install -y -qq chromium || { apt-get update -qq && apt-get install -y -qq chromium; }; } > /dev/null 2>&1 \
        || echo "chromium could not be installed"
fi
browser || without_browser

# Lanes side by side, so that no core waits while another lane's browser or notebook starts: style and types, PyTorch's
# tests of models, its tests of pages and pictures, JAX with the tests of files, and TensorFlow with all the rest. On more
# than four cores each lane has more processes; what shares something costly then stays together (see `conftest.py`). A
# process of PyTorch with a thread on each core would wait for the other's: the same tests took 1.8 times as much CPU.
export OMP_NUM_THREADS=1
processes=$(($(nproc) / 4))
spread=()
((processes < 2)) || spread=(-n "$processes" --dist loadscope)
on() {
    local backend=$1
    shift
    step "newest Keras on $backend" env KERAS_BACKEND="$backend" "$VENV/bin/python" -m pytest -q "${spread[@]}" "$@"
}
oldest() {
    local backend=$1
    shift
    step "oldest Keras on $backend" env KERAS_BACKEND="$backend" "$OLDEST/bin/python" -m pytest -q "${spread[@]}" "$@"
}

# The viewer's JavaScript needs Node and packages of npm's. Without them its checks are skipped, and all else runs.
without_node() {
    echo "NO NODE: the checks of the viewer's JavaScript are SKIPPED, for Node or the packages they need are not here."
}
javascript() {
    "$VENV/bin/python" tests/check_javascript.py
    local status=$?
    if ((status == 77)); then
        touch "$work/no_node"
        without_node
        status=0
    fi
    return $status
}
style() {
    step "format" "$VENV/bin/ruff" format --check .
    step "lint" "$VENV/bin/ruff" check .
    step "types" "$VENV/bin/mypy"
    step "JavaScript" javascript
}
PAGES=(tests/explaining tests/pages tests/plot tests/viewer tests/whole)
pages() {
    on torch "${PAGES[@]}"
}
jax_and_files() {
    on jax -m every_backend

    # Here JAX optimises everything, as it does for users.
    XLA_FLAGS="" JAX_DISABLE_MOST_OPTIMIZATIONS=0 oldest jax -m every_backend tests/interception/test_custom_layers.py \
        tests/layers/test_stored.py
    on torch tests/loading
}
tensorflow_and_the_rest() {
    on tensorflow -m every_backend
    oldest tensorflow -m every_backend tests/interception/test_against_keras.py tests/interception/test_custom_layers.py \
        tests/layers/test_multi_head.py
    oldest torch tests/interception/test_against_keras.py tests/capturing/test_capture.py tests/capturing/test_generation.py \
        tests/capturing/test_summaries.py tests/handlers/test_edits.py tests/layers/test_pooling.py \
        tests/layers/test_shared_value.py tests/loading/test_keras2.py tests/loading/test_load_model.py \
        tests/loading/test_own_classes.py

    # OpenVINO is not among the packages of the suite.
    step "examples in the docstrings" env KERAS_BACKEND=torch "$VENV/bin/python" -m pytest -q "${spread[@]}" --doctest-modules \
        --ignore-glob '*/_openvino.py' --pyargs attnscope
}

work=$(mktemp -d)
declare -A lanes
trap 'kill "${lanes[@]}" 2> /dev/null; rm -rf "$work"' EXIT
beside() {
    local name=$1
    {
        failed=()
        "$name"
        if ((${#failed[@]})); then printf '%s\n' "${failed[@]}" > "$work/$name.failed"; fi
    } > "$work/$name" 2>&1 &
    lanes[$name]=$!
}
beside style

# What all lanes import is compiled once, before they start and not by each of them. With XLA's older emitters small
# programs compile in a quarter of the time; a flag that it no longer knows would end each process, so it is asked first.
FAST_XLA="--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
imports() {
    KERAS_BACKEND=torch XLA_FLAGS=$FAST_XLA "$VENV/bin/python" -c "
import jax, keras_hub, matplotlib.pyplot, tensorflow, torch, transformers
jax.jit(abs)(1.0)
tensorflow.function(abs, jit_compile=True)(1.0)"
}
if imports 2> /dev/null; then
    export XLA_FLAGS=$FAST_XLA
else
    echo "XLA does not know $FAST_XLA: the tests on JAX take twice as long."
fi
beside pages
beside jax_and_files
beside tensorflow_and_the_rest
on torch --ignore=tests/loading "${PAGES[@]/#/--ignore=}"
for name in "${!lanes[@]}"; do
    wait "${lanes[$name]}" || failed+=("the lane '$name' ended early")
    cat "$work/$name"
    [[ ! -e $work/$name.failed ]] || mapfile -t -O ${#failed[@]} failed < "$work/$name.failed"
done

browser || without_browser
[[ ! -e $work/no_node ]] || without_node
if ((${#failed[@]})); then
    printf 'failed: %s\n' "${failed[@]}"
    exit 1
fi
echo "all passed in $SECONDS s"
