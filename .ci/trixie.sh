#!/bin/bash
# Runs the tests of imc.cfg, of the wire, conversations and the room of phones with the
# Kamailio of Debian 13, which lives with its libraries in a folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

dir=$(.ci/chroot.sh trixie install kamailio kamailio-extra-modules kamailio-postgres-modules \
	kamailio-tls-modules kamailio-websocket-modules kamailio-lua-modules kamailio-python3-modules)
lib=$(dirname "$dir"/usr/lib/*/kamailio)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Outside of the folder it needs the folder's own loader and libraries, Python's too.
cat >"$work/kamailio" <<END
#!/bin/sh
export PYTHONHOME=$dir/usr
exec $(echo "$lib"/ld-linux-*.so.?) --library-path $lib $dir/usr/sbin/kamailio -L $lib/kamailio/modules "\$@"
END
chmod 755 "$work/kamailio"
"$work/kamailio" -v | head -n 1

export IMCD_TEST_KAMAILIO=$work/kamailio IMCD_TEST_STOCK=$dir/etc/kamailio/kamailio.cfg
go=${GO:-go}
"$go" test -count=1 -timeout 10m ./kamailio-cfg
"$go" test -count=1 -timeout 5m -run 'Real|Through' ./evapi
"$go" test -count=1 -timeout 5m -run 'TestConversations$' ./cmd/imcd/e2e
"$go" test -count=1 -timeout 5m -run 'TestPhones$' ./cmd/imcd/phones
