# What deb.sh and dist.sh share: sourced by them, in the checkout's root. The
# Makefile gives them VERSION, GO and OUT.

die() {
	echo "${0##*/}: $*" >&2
	exit 1
}

pkg=cmd/imcd/package
go=${GO:-go}
out=${OUT:-dist}
version=${VERSION:-dev}

# The date of everything that is made: that of the commit, so that two runs give
# the same files.
if [[ -z ${SOURCE_DATE_EPOCH:-} ]]; then
	SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y go.mod)
fi
export SOURCE_DATE_EPOCH TZ=UTC LC_ALL=C.UTF-8

# build DIR ARCH: the static programs.
build() {
	local name
	for name in imcd imcctl; do
		CGO_ENABLED=0 GOOS=linux GOARCH=$2 "$go" build -buildvcs=false -trimpath \
			-ldflags "-s -w -buildid= -X main.version=$version" -o "$1/$name" "./cmd/$name"
	done
}

# pages DIR: the manual pages.
pages() {
	local date
	date=$(date -u -d "@$SOURCE_DATE_EPOCH" '+%B %-d, %Y')
	for page in "$pkg"/man/*; do
		sed "s/^\.Dd .*/.Dd $date/" "$page" >"$1/${page##*/}"
	done
	{
		printf '.Dd %s\n.Dt IMCD.YAML 5\n.Os imcd\n.Sh NAME\n.Nm imcd.yaml\n.Nd configuration of imcd\n.Sh DESCRIPTION\n' "$date"
		printf 'Every key, with its default and its meaning. An unknown key or a bad value is an error that names it;\n'
		printf '.Ql imcd -c FILE -check\nchecks a file.\n.Bd -literal\n'
		"$go" run -buildvcs=false ./cmd/imcd -print-config | sed -e 's/\\/\\e/g' -e "s/^[.']/\\\\\&&/"
		printf '.Ed\n.Sh SEE ALSO\n.Xr imcd 8\n'
	} >"$1/imcd.yaml.5"
	"$go" run -buildvcs=false ./cmd/imcctl man "$1"
	# Nobody looks for these.
	rm -f "$1"/imcctl-completion*
}

# instances DIR: the unit of further imcd on this host, imcd@2 to imcd@254, which listen on addresses of their own.
instances() {
	sed -e 's/^Description=.*/& (%i)/' -e 's/^StateDirectory=imcd$/&-%i/' \
		-e 's,^ExecStart=.*,& --state_dir /var/lib/imcd-%i --rpc_listen 127.0.0.%i:8449 --http_listen 127.0.0.%i:8450,' \
		"$pkg/imcd.service" >"$1/imcd@.service"
}

# dated DIR: every file in it gets the date.
dated() {
	find "$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}
