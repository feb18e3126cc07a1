#!/usr/bin/env bash
# A real S3 server for the tests: Ceph's object gateway over an in-memory store, only on the loopback interface.
#
#   infra/test-s3.sh install           install the Debian packages that it needs (as root)
#   infra/test-s3.sh start DIR [PORT]  start it with its state under DIR (on port 9200 by default; its monitor takes
#                                      the next two) and print the environment variables for clients
#   infra/test-s3.sh stop DIR          stop it; its data are lost
set -euo pipefail

install() {
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        radosgw ceph-mon ceph-osd ceph-mgr ceph-common >/dev/null
}

write_configuration() {
    local dir=$1 port=$2 fsid=$3
    mkdir -p "$dir"/{run,log,mon,osd,mgr,rgw}
    cat >"$dir/ceph.conf" <<END
[global]
fsid = $fsid
mon host = [v2:127.0.0.1:$((port + 1)),v1:127.0.0.1:$((port + 2))]
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
mon allow pool size one = true
mon pg warn on no redundancy = false
mon data avail crit = 1
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 4294967296
rgw_rados_pool_pg_num_min = 4
rgw frontends = beast endpoint=127.0.0.1:$port
rgw run sync thread = false
run dir = $dir/run
admin socket = $dir/run/\$name.\$pid.asok
log file = $dir/log/\$name.log
pid file = $dir/run/\$name.pid
mon data = $dir/mon
osd data = $dir/osd
mgr data = $dir/mgr
rgw data = $dir/rgw
END
}

start() {
    local dir port fsid conf
    dir=$(realpath -m "$1") port=${2:-9200} fsid=$(cat /proc/sys/kernel/random/uuid) conf=$dir/ceph.conf
    local crc=--ms_mon_client_mode=crc
    write_configuration "$dir" "$port" "$fsid"
    export CEPH_CONF=$conf
    monmaptool --create --fsid "$fsid" --clobber "$dir/monmap" \
        --addv a "[v2:127.0.0.1:$((port + 1)),v1:127.0.0.1:$((port + 2))]" >/dev/null
    ceph-mon -c "$conf" --mkfs -i a --monmap "$dir/monmap" >/dev/null
    ceph-mon -c "$conf" -i a
    # It complains about a missing key ring, but this cluster of one uses no authentication.
    ceph-osd -c "$conf" --mkfs -i 0 --osd-uuid "$(cat /proc/sys/kernel/random/uuid)" $crc >/dev/null 2>&1 || true
    ceph -c "$conf" $crc osd new "$(cat "$dir/osd/fsid")" 0 >/dev/null 2>&1 || true
    ceph-osd -c "$conf" -i 0 $crc >/dev/null
    ceph-mgr -c "$conf" -i a $crc >/dev/null || true
    radosgw -c "$conf" -n client.admin --no-mon-config $crc --pid-file "$dir/run/rgw.pid" >/dev/null
    check_listens "$dir" "$port"
    radosgw-admin -c "$conf" -n client.admin --no-mon-config $crc user create --uid=test \
        --display-name=test --access-key=test --secret-key=testtest >/dev/null 2>&1
    # Has no rights until a bucket's policy gives it some.
    radosgw-admin -c "$conf" -n client.admin --no-mon-config $crc user create --uid=guest \
        --display-name=guest --access-key=guest --secret-key=guestguest >/dev/null 2>&1
    check_listens "$dir" "$port"  # it may have ended since
    cat <<END
AWS_ENDPOINT_URL=http://127.0.0.1:$port
AWS_ACCESS_KEY_ID=test
AWS_SECRET_ACCESS_KEY=testtest
AWS_DEFAULT_REGION=us-east-1
AWS_REQUEST_CHECKSUM_CALCULATION=when_required
END
}

check_listens() {
    for _ in $(seq 240); do
        if (exec 3<>"/dev/tcp/127.0.0.1/$2") 2>/dev/null; then return; fi
        sleep 0.5
    done
    echo "the S3 server does not listen on port $2; see $1/log" >&2
    stop "$1"
    exit 1
}

stop() {
    local file
    for file in "$(realpath -m "$1")"/run/*.pid; do
        [ -s "$file" ] && kill -9 "$(cat "$file")" 2>/dev/null || true
    done
}

usage() {
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

case ${1:-} in
install) install ;;
start) start "${2:?DIR is missing}" "${3:-}" ;;
stop) stop "${2:?DIR is missing}" ;;
*) usage ;;
esac
