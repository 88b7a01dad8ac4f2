#!/bin/sh
# Give .tools/peers/decisions a Python with the libraries that `make bench ARGS=decisions` measures beside: gbstats and
# confseq, which need an older numpy than ours. confseq is compiled, with Boost's headers of the machine or the distribution.
set -eu
cd -P "$(dirname "$0")/.."
. setup/common.sh

here=.tools/peers/decisions
python=$here/venv/bin/python

ready() {
    [ -x "$python" ] && "$python" -c "import confseq.boundaries, gbstats" 2>/dev/null
}

if ready; then exit; fi
one_at_a_time peers
if ready; then exit; fi

rm -rf "$here"
mkdir -p "$here"
boost=/usr
if [ ! -e /usr/include/boost/version.hpp ]; then
    unpack "$here/boost" libboost1.83-dev || unpack "$here/boost" libboost1.74-dev || unpack "$here/boost" libboost1.81-dev ||
        fail "Boost's headers are missing, which confseq is compiled with." "  Debian, Ubuntu: sudo apt-get install libboost-dev"
    boost=$PWD/$here/boost/usr
fi
.venv/bin/python -m venv "$here/venv"
echo "compiling confseq (once, two minutes) ..."
"$python" -m pip install -qq "gbstats==0.8.0" "setuptools<80" wheel scikit-build "cmake<4" ninja "pybind11>=2.13"
PATH=$PWD/$here/venv/bin:$PATH BOOST_ROOT=$boost CPLUS_INCLUDE_PATH=$boost/include "$python" -m pip install -qq --no-build-isolation "confseq==0.0.11" "numpy<2"
