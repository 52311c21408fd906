#!/usr/bin/env bash
# Pages through tasks and activities the way the vendor's shell examples do: brackets as they are, the cursor pasted as it
# comes, `jq` for everything, and one line of body before the status.
set -euo pipefail

call() {
    local body status
    { read -r body; read -r status; } < <(curl -s --globoff -w '\n%{http_code}\n' -H "Authorization: Bearer $token" \
        -H 'Accept: application/json' -H 'User-Agent: shell examples' --url "$BACKSTAY_URL/$1")
    [[ $status = 20* ]] || { echo "$1: $status $body" >&2; exit 1; }
    echo "$body"
}

client=$(curl -s -u "$LOGIN:$PASSWORD" -H 'Content-Type: application/json' --url "$BACKSTAY_URL/api/2/clients" -d '{
    "type": "api_client",
    "tenant_id": '"$(curl -s -u "$LOGIN:$PASSWORD" "$BACKSTAY_URL/api/2/users/me" | jq .tenant_id)"',
    "token_endpoint_auth_method": "client_secret_basic",
    "data": {"client_name": "shell examples"}}')
id=$(jq -r .client_id <<<"$client")
secret=$(jq -r .client_secret <<<"$client")
token=$(curl -s -u "$id:$secret" -d grant_type=client_credentials "$BACKSTAY_URL/api/2/idp/token" |
    jq '.access_token' | sed -e 's/^"//' -e 's/"$//')

week=$(date --date='-7 days' +%Y-%m-%dT00:00:00Z)
call "api/task_manager/v2/tasks?completedAt=gt($week)" | jq .size
for kind in tasks activities; do
    page=$(call "api/task_manager/v2/$kind?limit=10")
    pages=1
    while after=$(jq '.paging.cursors.after' <<<"$page" | sed -e 's/^"//' -e 's/"$//') && [ -n "$after" ] && [ "$after" != null ]; do
        page=$(call "api/task_manager/v2/$kind?limit=10&after=$after")
        pages=$((pages + 1))
    done
    echo "$kind $pages"
done
