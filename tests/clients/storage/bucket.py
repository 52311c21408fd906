"""Prepares a bucket that locks its objects, in a server of moto that checks keys from then on; or tells what is in it.

    bucket.py make URL BUCKET     prints the id and the secret of a key
    bucket.py tell URL BUCKET ID SECRET     prints each object with its number of versions and its lock, one a line
"""

import json
import sys
import urllib.request

import boto3
from botocore.config import Config


def client(kind, url, key="setup", secret="setup"):
    return boto3.client(
        kind,
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0}),
    )


def make(url, bucket):
    s3, iam = client("s3", url), client("iam", url)
    s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}}
    lock = {"ObjectLockEnabled": "Enabled", "Rule": rule}
    s3.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=lock)
    iam.create_user(UserName="backstay")
    allowed = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    iam.put_user_policy(UserName="backstay", PolicyName="all", PolicyDocument=policy)
    key = iam.create_access_key(UserName="backstay")["AccessKey"]
    check = urllib.request.Request(f"{url}/moto-api/reset-auth", data=b"0", headers={"content-type": "text/plain"})
    urllib.request.urlopen(check).read()
    print(key["AccessKeyId"], key["SecretAccessKey"])


def tell(url, bucket, key, secret):
    s3 = client("s3", url, key, secret)
    versions = {}
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for version in page.get("Versions", []):
            versions.setdefault(version["Key"], []).append(version["VersionId"])
    for name, ids in sorted(versions.items()):
        held = s3.head_object(Bucket=bucket, Key=name, VersionId=ids[0]).get("ObjectLockMode", "free")
        print(name, len(ids), held)


if __name__ == "__main__":
    {"make": make, "tell": tell}[sys.argv[1]](*sys.argv[2:])
