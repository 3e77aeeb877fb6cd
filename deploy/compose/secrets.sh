#!/bin/sh
# Makes the passwords that are not there yet, and the folder for those of the alerts' receivers.
#
# The folder is closed to others; its files are readable, since each container reads its own as
# a user that this machine does not know.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets/alertmanager
chmod 755 secrets/alertmanager
for name in postgres exporter validator migrator cache grafana; do
    file="secrets/$name-password"
    if [ ! -s "$file" ]; then
        od -An -N24 -tx1 /dev/urandom | tr -d ' \n' > "$file"
        chmod 444 "$file"
        echo "made $file"
    fi
done
