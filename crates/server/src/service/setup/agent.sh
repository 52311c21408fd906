#!/bin/sh
# Installs the Backstay agent on this machine and lets it join a server:
#
#   sh agent.sh --server=URL --ca-fingerprint=HEX --instance-registration-token=ID
#
# What can be set in the environment: BACKSTAY_BIN_DIR, where the program goes (/usr/local/bin); BACKSTAY_AGENT_DATA, what
# the agent keeps (/var/lib/backstay-agent); BACKSTAY_NO_SERVICE=1, start it in the background and not by systemd.
set -eu

path='@PATH@'
sha256='@SHA256@'
bin_dir=${BACKSTAY_BIN_DIR:-/usr/local/bin}
data=${BACKSTAY_AGENT_DATA:-/var/lib/backstay-agent}
server=
fingerprint=
token=
instance=

fail() {
    echo "backstay: $1" >&2
    exit 1
}

while [ $# -gt 0 ]; do
    case $1 in
    --server=*) server=${1#*=} ;;
    --ca-fingerprint=*) fingerprint=${1#*=} ;;
    --instance-registration-token=*) token=${1#*=} ;;
    --instance-id=*) instance=${1#*=} ;;
    *) fail "the option '$1' is not known" ;;
    esac
    shift
done
[ -n "$server" ] && [ -n "$fingerprint" ] && [ -n "$token" ] ||
    fail "--server, --ca-fingerprint and --instance-registration-token are needed"
[ "$(uname -s) $(uname -m)" = '@SYSTEM@ @MACHINE@' ] ||
    fail "the server has an agent for @SYSTEM@ @MACHINE@ only, and this is $(uname -s) $(uname -m)"

mkdir -p "$bin_dir" "$data"
chmod 700 "$data"
new=$(mktemp "$bin_dir/.backstay.XXXXXX")
trap 'rm -f "$new"' EXIT
# The digest says whether it is the right program, so it does not matter who signed the server's certificate.
if command -v curl >/dev/null 2>&1; then
    curl -fsSk -o "$new" "$server$path" || fail "the program could not be fetched from $server"
else
    wget -q --no-check-certificate -O "$new" "$server$path" || fail "the program could not be fetched from $server"
fi
echo "$sha256  $new" | sha256sum -c - >/dev/null 2>&1 ||
    fail "what $server sent is not the program that was promised; ask for a new command"
chmod 755 "$new"
mv -f "$new" "$bin_dir/backstay"
trap - EXIT

# The token in the environment: the command line can be read by everybody on the machine.
BACKSTAY_REGISTRATION_TOKEN=$token "$bin_dir/backstay" agent join --data "$data" --server "$server" \
    --ca-fingerprint "$fingerprint" ${instance:+--instance-id "$instance"}

if [ -z "${BACKSTAY_NO_SERVICE:-}" ] && [ -d /run/systemd/system ]; then
    sed -e "s|/usr/local/bin/backstay|$bin_dir/backstay|" -e "s|/var/lib/backstay-agent|$data|" \
        >/etc/systemd/system/backstay-agent.service <<'UNIT'
@UNIT@
UNIT
    systemctl daemon-reload
    systemctl enable backstay-agent.service >/dev/null 2>&1
    systemctl restart backstay-agent.service
    echo "backstay: the agent is installed and runs as the service backstay-agent"
else
    nohup "$bin_dir/backstay" agent run --data "$data" >>"$data/agent.log" 2>&1 </dev/null &
    echo $! >"$data/agent.pid"
    echo "backstay: the agent is installed and runs in the background; start it again after a restart of the machine"
fi
