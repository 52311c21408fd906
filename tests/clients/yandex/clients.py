"""Clients of the Yandex Cloud Backup API, with the vendor's own package `yandexcloud` as it is published.

Each function is something that a program of a user does. They are run against a real server with real files by
tests/tests/yandex_clients.rs, which says in PROBE, as JSON, what it has set up.
"""
import json, os, pathlib, uuid, warnings

import grpc
from google.protobuf import descriptor_pool, empty_pb2, json_format, message_factory
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
import yandexcloud
from yandex.cloud.backup.v1 import (
    backup_pb2, backup_service_pb2 as backups, backup_service_pb2_grpc, policy_pb2, policy_service_pb2 as policies,
    policy_service_pb2_grpc, provider_service_pb2 as providers, provider_service_pb2_grpc, resource_pb2,
    resource_service_pb2 as resources, resource_service_pb2_grpc, setup_service_pb2 as setup, setup_service_pb2_grpc)
from yandex.cloud.endpoint import api_endpoint_service_pb2 as endpoints, api_endpoint_service_pb2_grpc
from yandex.cloud.iam.v1 import iam_token_service_pb2 as iam, iam_token_service_pb2_grpc
from yandex.cloud.operation import operation_service_pb2 as operations, operation_service_pb2_grpc
from yandexcloud.operations import OperationError

warnings.simplefilter("ignore", DeprecationWarning)
PROBE = json.loads(os.environ["PROBE"])
ENDPOINT, FOLDER, MACHINE = PROBE["endpoint"], PROBE["folder"], PROBE["instance"]
CA = pathlib.Path(PROBE["ca"]).read_bytes()
DATA, BACK = pathlib.Path(PROBE["data"]), pathlib.Path(PROBE["back"])
HERE = pathlib.Path(__file__).parent
Status, Code = resource_pb2.Task.Status, resource_pb2.Task.Code


def sdk(**credential):
    return yandexcloud.SDK(endpoint=ENDPOINT, root_certificates=CA, **credential)


def plain():
    """A channel without any credential."""
    return grpc.secure_channel(ENDPOINT, grpc.ssl_channel_credentials(CA))


class Cloud:
    """The package's channel for the service `backup`, with the generated clients on it."""

    def __init__(self, **credential):
        self.sdk = sdk(**credential)
        channel = self.sdk._channels.channel("backup")
        self.resources = resource_service_pb2_grpc.ResourceServiceStub(channel)
        self.backups = backup_service_pb2_grpc.BackupServiceStub(channel)
        self.policies = policy_service_pb2_grpc.PolicyServiceStub(channel)
        self.providers = provider_service_pb2_grpc.ProviderServiceStub(channel)
        self.setup = setup_service_pb2_grpc.SetupServiceStub(channel)
        self.operations = self.sdk.client(operation_service_pb2_grpc.OperationServiceStub)

    def wait(self, operation, response, meta):
        """Waits as programs do; both types must be right, for the package takes wrong ones for empty messages."""
        assert operation.metadata.Is(meta.DESCRIPTOR), operation.metadata.type_url
        found = self.sdk.wait_operation_and_get_result(operation, response_type=response, meta_type=meta, timeout=120)
        done = self.operations.Get(operations.GetOperationRequest(operation_id=operation.id))
        assert done.done and done.response.Is(response.DESCRIPTOR) and done.metadata.Is(meta.DESCRIPTOR), done
        assert done.description == operation.description and done.created_by == operation.created_by != "", done
        return found

    def tasks(self, **wish):
        return self.resources.ListTasks(resources.ListTasksRequest(compute_instance_id=MACHINE, **wish))

    def newest(self):
        return self.tasks(page_size=1).tasks[0]

    def all_backups(self, **wish):
        wish = wish or {"compute_instance_id": MACHINE}
        return list(self.backups.List(backups.ListBackupsRequest(**wish)).backups)

    def create_policy(self, name, **changes):
        settings = terraform_settings()
        for field, value in changes.items():
            json_format.ParseDict({field: value}, settings)
        request = policies.CreatePolicyRequest(folder_id=FOLDER, name=name, settings=settings)
        made = self.policies.Create(request)
        assert made.done, "it is finished in the call"
        policy = self.wait(made, policy_pb2.Policy, policies.CreatePolicyMetadata)
        assert policy.response.id == policy.meta.policy_id and policy.response.settings == settings, policy.response
        return policy.response.id

    def apply(self, policy):
        request = policies.ApplyPolicyRequest(policy_id=policy, compute_instance_id=MACHINE)
        applied = self.policies.Apply(request)
        assert policy in self.applied(), "it is there as soon as Apply has answered"
        self.wait(applied, empty_pb2.Empty, policies.ApplyPolicyMetadata)

    def applied(self):
        wish = policies.ListApplicationsRequest(compute_instance_id=MACHINE, show_processing=True)
        return [a.policy_id for a in self.policies.ListApplications(wish).applications]

    def execute(self, policy):
        return self.policies.Execute(policies.ExecuteRequest(policy_id=policy, compute_instance_id=MACHINE))

    def back_up(self, policy):
        """Runs a policy to its end, and gives the recovery point."""
        self.wait(self.execute(policy), empty_pb2.Empty, policies.ExecuteMetadata)
        pair = backups.ListBackupsRequest.InstancePolicy(compute_instance_id=MACHINE, policy_id=policy)
        return self.all_backups(instance_policy=pair)[0]

    def recover(self, backup, ids, **options):
        opts = backups.FilesRecoveryOptions(**options)
        request = backups.StartFilesRecoveryRequest(
            compute_instance_id=MACHINE, backup_id=backup.id, opts=opts, source_ids=ids)
        started = self.backups.StartFilesRecovery(request)
        meta = self.wait(started, empty_pb2.Empty, backups.StartFilesRecoveryMetadata).meta
        assert list(meta.source_ids) == ids and meta.backup_id == backup.id, meta

    def files(self, backup, source=""):
        request = backups.ListFilesRequest(folder_id=FOLDER, backup_id=backup.id, source_id=source)
        return {f.name: f for f in self.backups.ListFiles(request).files}


def terraform_settings():
    """What Terraform sends when its user says nothing."""
    interval = policy_pb2.PolicySettings.Interval
    retries = policy_pb2.PolicySettings.RetriesConfiguration(
        enabled=True, interval=interval(type=interval.MINUTES, count=5), max_attempts=5)
    return json_format.ParseDict({
        "compression": "NORMAL", "format": "AUTO", "cbt": "DO_NOT_USE", "multiVolumeSnapshottingEnabled": True,
        "silentModeEnabled": True, "fastBackupEnabled": True, "splitting": {"size": "9223372036854775807"},
        "vss": {"enabled": True, "provider": "NATIVE"}, "archive": {"name": "[Machine Name]-[Plan ID]-[Unique ID]a"},
        "performanceWindow": {}, "retention": {},
        "scheduling": {
            "enabled": True, "scheme": "ALWAYS_INCREMENTAL", "weeklyBackupDay": "MONDAY",
            "randMaxDelay": {"type": "MINUTES", "count": "30"},
            "backupSets": [{"type": "TYPE_AUTO", "sinceLastExecTime": {"delay": {"type": "SECONDS", "count": "86400"}}}]},
    }, policy_pb2.PolicySettings(reattempts=retries, vm_snapshot_reattempts=retries))


def refused(code, call, *args):
    try:
        call(*args)
    except grpc.RpcError as error:
        assert error.code() == code, error
        return error
    raise AssertionError(f"{call} was not refused with {code}")


def same(left, right):
    """Whether two trees hold the same, byte for byte."""
    seen = [{p.relative_to(top): p.read_bytes() if p.is_file() else None for p in top.rglob("*")} for top in (left, right)]
    return seen[0] == seen[1]


def key_in_the_place_of_an_oauth_token():
    cloud = Cloud(token=PROBE["api_key"])
    assert [r.compute_instance_id for r in cloud.resources.List(resources.ListResourcesRequest(folder_id=FOLDER)).resources] == [MACHINE]


def key_of_a_service_account():
    key = json.loads(pathlib.Path(PROBE["key_file"]).read_text())
    cloud = Cloud(service_account_key=key)
    made = cloud.providers.Activate(providers.ActivateProviderRequest(folder_id=FOLDER, name="vendor", skip_default_policy=True))
    assert made.created_by == key["service_account_id"], made
    cloud.wait(made, empty_pb2.Empty, providers.ActivateProviderMetadata)
    names = cloud.providers.ListActivated(providers.ListActivatedProvidersRequest(folder_id=FOLDER)).names
    assert list(names) == ["backstay", "vendor"], names
    stolen = {**key, "id": "0192f0aa-1111-7aaa-8aaa-000000000001"}
    error = refused(grpc.StatusCode.UNAVAILABLE, Cloud(service_account_key=stolen).tasks)
    assert "kid" in error.details(), error


def tokens_end():
    service = iam_token_service_pb2_grpc.IamTokenServiceStub(plain())
    made = service.Create(iam.CreateIamTokenRequest(yandex_passport_oauth_token=PROBE["api_key"]))
    assert made.iam_token.startswith("t1.") and made.iam_token.count(".") == 2 and made.expires_at.seconds > 0
    cloud = Cloud(iam_token=made.iam_token)
    assert cloud.tasks().tasks
    # The package never sends a token to this service by itself.
    own = [("authorization", f"Bearer {made.iam_token}")]
    assert service.Revoke(iam.RevokeIamTokenRequest(iam_token=made.iam_token), metadata=own).subject_id
    refused(grpc.StatusCode.UNAUTHENTICATED, cloud.tasks)
    refused(grpc.StatusCode.UNAUTHENTICATED, service.Create, iam.CreateIamTokenRequest(yandex_passport_oauth_token="wrong"))


def discovery():
    service = api_endpoint_service_pb2_grpc.ApiEndpointServiceStub(plain())
    found = service.List(endpoints.ListApiEndpointsRequest(page_size=100))
    addresses = {e.id: e.address for e in found.endpoints}
    assert addresses == dict.fromkeys(["backup", "baas", "cloudbackup", "iam", "operation", "endpoint"], ENDPOINT), addresses
    assert service.Get(endpoints.GetApiEndpointRequest(api_endpoint_id="iam")).address == ENDPOINT
    refused(grpc.StatusCode.NOT_FOUND, service.Get, endpoints.GetApiEndpointRequest(api_endpoint_id="compute"))


def machines_and_tasks(cloud):
    machine = cloud.resources.Get(resources.GetResourceRequest(compute_instance_id=MACHINE, include_tenant_info=True)).resource
    assert machine.online and machine.is_active and machine.init_status == machine.REGISTRED, machine
    assert machine.tenant_info.folder_id == FOLDER and machine.agent_info.current_version and machine.metadata == "null", machine
    everything = [t.id for t in cloud.tasks().tasks]
    # Sizes change between pages, as with the vendor's iterator in Go.
    for sizes in [2, 2, 2], [2, 1, 3]:
        seen, token, sizes = [], "", iter(sizes * 100)
        while True:
            page = cloud.tasks(page_size=next(sizes), page_token=token)
            assert page.tasks, "no page is empty"
            seen += [t.id for t in page.tasks]
            token = page.next_page_token
            if not token:
                break
            assert len(token) <= 100
        assert seen == everything == sorted(set(everything), reverse=True), seen
    for wrong in 1001, -1:
        refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: cloud.tasks(page_size=wrong))
    token = cloud.tasks(page_size=1).next_page_token
    wish = resources.ListTasksRequest(compute_instance_id=machine.resource_id + "x", page_token=token)
    refused(grpc.StatusCode.INVALID_ARGUMENT, cloud.resources.ListTasks, wish)
    unknown = resources.ListTasksRequest(compute_instance_id="unknown")
    refused(grpc.StatusCode.NOT_FOUND, cloud.resources.ListTasks, unknown)
    assert refused(grpc.StatusCode.INVALID_ARGUMENT, cloud.resources.List, resources.ListResourcesRequest()).trailing_metadata()


def policies_from_elsewhere_have_what_terraform_needs(cloud):
    found = cloud.policies.List(policies.ListPoliciesRequest(folder_id=FOLDER)).policies
    assert found
    for policy in found:
        assert policy.settings.HasField("splitting") and policy.settings.scheduling.backup_sets, policy
    assert PROBE["policy"] in [p.id for p in found]


def a_policy_comes_back_as_it_was_written(cloud):
    body = json.loads((HERE / "policy.json").read_text())
    request = json_format.ParseDict(body | {"folderId": FOLDER}, policies.CreatePolicyRequest())
    made = cloud.policies.Create(request)
    assert made.done and made.response.type_url == "type.googleapis.com/yandex.cloud.backup.v1.Policy", made
    policy = cloud.wait(made, policy_pb2.Policy, policies.CreatePolicyMetadata).response
    assert (policy.name, policy.folder_id, policy.enabled) == ("nightly", FOLDER, True), policy
    get = policies.GetPolicyRequest(policy_id=policy.id)
    assert policy.settings == request.settings == cloud.policies.Get(get).settings
    request.settings.compression = policy_pb2.PolicySettings.OFF
    request.settings.scheduling.enabled = False
    update = policies.UpdatePolicyRequest(policy_id=policy.id, settings=request.settings)
    changed = cloud.wait(cloud.policies.Update(update), policy_pb2.Policy, policies.UpdatePolicyMetadata).response
    assert changed.settings == request.settings == cloud.policies.Get(get).settings
    # Its command does not exist on this machine, and it is to stop on that.
    cloud.apply(policy.id)
    refused_run = cloud.execute(policy.id)
    try:
        cloud.wait(refused_run, empty_pb2.Empty, policies.ExecuteMetadata)
        raise AssertionError("the run went well without its command")
    except OperationError as error:
        assert "fsfreeze-check" in str(error), error
    task = cloud.newest()
    assert task.policy_id == policy.id and task.result_code == Code.ERROR and "fsfreeze-check" in task.error, task
    revoke = cloud.policies.Revoke(policies.RevokeRequest(policy_id=policy.id, compute_instance_id=MACHINE))
    cloud.wait(revoke, empty_pb2.Empty, policies.RevokeMetadata)
    assert policy.id not in cloud.applied()
    refused(grpc.StatusCode.NOT_FOUND, cloud.policies.Revoke, policies.RevokeRequest(policy_id=policy.id, compute_instance_id=MACHINE))
    error = refused(grpc.StatusCode.FAILED_PRECONDITION, cloud.execute, policy.id)
    assert "grpc-status-details-bin" in dict(error.trailing_metadata()), error
    delete = cloud.policies.Delete(policies.DeletePolicyRequest(policy_id=policy.id))
    cloud.wait(delete, empty_pb2.Empty, policies.DeletePolicyMetadata)
    refused(grpc.StatusCode.NOT_FOUND, cloud.policies.Get, get)


def a_run_from_wish_to_recovery_point(cloud):
    policy = cloud.create_policy("runs", fileFilters={"exclusionMasks": ["*.tmp"]})
    cloud.apply(policy)
    (DATA / "left-out.tmp").write_text("not in any backup")
    key = (("idempotency-key", str(uuid.uuid4())),)
    request = policies.ExecuteRequest(policy_id=policy, compute_instance_id=MACHINE)
    run, call = cloud.policies.Execute.with_call(request, metadata=key)
    assert cloud.policies.Execute(request, metadata=key).id == run.id, "one key, one run"
    headers = dict(call.initial_metadata())
    assert headers["x-request-id"] and headers["x-server-trace-id"], headers
    seen, progress = [], 0
    for _ in cloud.sdk.waiter(run.id, timeout=120):
        task = cloud.newest()
        assert task.type == task.BACKUP and task.progress.current >= progress, task
        progress = task.progress.current
        seen.append(task.status)
    assert seen == sorted(seen), seen
    task = cloud.newest()
    assert (task.status, task.result_code, task.error, task.cancellable) == (Status.COMPLETED, Code.OK, "", False), task
    assert task.policy_id == policy and task.compute_instance_id == MACHINE, task
    assert task.enqueued_at.ToNanoseconds() <= task.started_at.ToNanoseconds() < task.completed_at.ToNanoseconds(), task
    by_task = cloud.operations.Get(operations.GetOperationRequest(operation_id=f"task-{task.id}"))
    assert by_task.done and by_task.metadata.Is(policies.ExecuteMetadata.DESCRIPTOR), by_task
    backup = cloud.all_backups()[0]
    assert backup.policy_id == policy and backup.type == backup.FULL and backup.original_data_size > 0, backup
    wish = backups.GetBackupRequest(folder_id=FOLDER, backup_id=backup.id)
    assert cloud.backups.Get(wish) == backup
    archives = cloud.backups.ListArchives(backups.ListArchivesRequest(compute_instance_id=MACHINE)).archives
    archive = next(a for a in archives if a.id == backup.archive_id)
    nanoseconds = [t.ToNanoseconds() for t in (archive.last_seen_at, archive.created_at, backup.created_at)]
    assert nanoseconds == sorted(nanoseconds, reverse=True), archive
    assert archive.backup_plan_name == "runs" and archive.name.endswith(archive.id + "a"), archive
    of = lambda **wish: [b.id for b in cloud.all_backups(**wish)]
    pair = backups.ListBackupsRequest.InstancePolicy(compute_instance_id=MACHINE, policy_id=policy)
    mine = backups.ListBackupsRequest.ArchiveParameters(archive_id=archive.id, folder_id=FOLDER)
    assert of(instance_policy=pair) == of(policy_id=policy) == of(archive=mine) == [backup.id]
    assert of(folder_id=FOLDER) == of(resource_id=backup.resource_id) == of(compute_instance_id=MACHINE)
    assert of(folder_id=FOLDER, order_by="created_at asc") == of(folder_id=FOLDER)[::-1]
    assert of(folder_id=FOLDER, filter='created_at < "2020-01-01"') == []
    listed = cloud.resources.ListOperations(resources.ListResourceOperationsRequest(compute_instance_id=MACHINE)).operations
    assert listed[0].id == run.id and len(listed) >= 2, listed
    return policy


def files_come_back(cloud, policy):
    (DATA / "letter").write_bytes(b"Dear all,\n")
    backup = cloud.back_up(policy)
    assert backup.type == backup.INCREMENTAL, backup
    roots = cloud.files(backup)
    assert list(roots) == [str(DATA)] and not roots[str(DATA)].HasField("parent_id"), roots
    root = roots[str(DATA)]
    top = cloud.files(backup, root.id)
    assert "left-out.tmp" not in top, top
    letter, folder = top["letter"], top["sub"]
    assert (letter.size, letter.type, letter.parent_id.value) == (10, backup_pb2.BackupFile.TYPE_FILE, root.id), letter
    assert folder.type == backup_pb2.BackupFile.TYPE_DIR, folder
    assert cloud.files(backup, folder.id).keys() == {p.name for p in (DATA / "sub").iterdir()}
    asked = lambda source: backups.ListFilesRequest(folder_id=FOLDER, backup_id=backup.id, source_id=source)
    refused(grpc.StatusCode.INVALID_ARGUMENT, cloud.backups.ListFiles, asked(letter.id))
    refused(grpc.StatusCode.INVALID_ARGUMENT, cloud.backups.ListFiles, asked("nonsense"))
    # To another place: under their own names, a root as what is in it.
    custom = lambda name: backups.TargetPathCustom(path=str(BACK / name))
    cloud.recover(backup, [letter.id, folder.id], custom=custom("some"))
    assert {p.name for p in (BACK / "some").iterdir()} == {"letter", "sub"}
    assert same(BACK / "some/sub", DATA / "sub") and (BACK / "some/letter").read_bytes() == b"Dear all,\n"
    (DATA / "left-out.tmp").unlink()
    cloud.recover(backup, [root.id], custom=custom("all"))
    assert same(BACK / "all", DATA)
    # To where they were.
    (DATA / "letter").write_bytes(b"Dear none")
    original = backups.TargetPathOriginal()
    cloud.recover(backup, [letter.id], original=original, overwrite=backups.FilesRecoveryOptions.OVERWRITE_NONE)
    assert (DATA / "letter").read_bytes() == b"Dear none"
    cloud.recover(backup, [letter.id], original=original, overwrite=backups.FilesRecoveryOptions.OVERWRITE_OLDER)
    assert (DATA / "letter").read_bytes() == b"Dear none", "it is newer"
    cloud.recover(backup, [letter.id], original=original)
    assert (DATA / "letter").read_bytes() == b"Dear all,\n"
    return backup


def a_machine_comes_back(cloud, backup):
    for path in sorted(DATA.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (DATA / "extra").write_text("left alone")
    start = backups.StartRecoveryRequest(compute_instance_id=MACHINE, backup_id=backup.id)
    meta = cloud.wait(cloud.backups.StartRecovery(start), empty_pb2.Empty, backups.StartRecoveryMetadata).meta
    assert (meta.src_backup_id, meta.dst_compute_instance_id) == (backup.id, MACHINE), meta
    task = cloud.newest()
    assert task.type == task.RECOVERY and task.result_code == Code.OK, task
    assert (DATA / "extra").read_text() == "left alone"
    (DATA / "extra").unlink()
    assert same(BACK / "all", DATA)


def a_run_is_cancelled(cloud):
    wait = {"cmd": "sleep", "args": "600", "enabled": True, "stopOnError": True, "type": "PRE_COMMAND", "wait": True}
    policy = cloud.create_policy("sleeps", prePostCommands=[wait])
    cloud.apply(policy)
    run = cloud.execute(policy)
    for _ in cloud.sdk.waiter(run.id, timeout=60):
        if cloud.newest().status == Status.STARTED:
            break
    task = cloud.newest()
    assert task.status == Status.STARTED and task.cancellable, task
    refused_meanwhile = cloud.operations.Cancel(operations.CancelOperationRequest(operation_id=run.id))
    assert refused_meanwhile.id == run.id and not refused_meanwhile.HasField("response"), refused_meanwhile
    try:
        cloud.wait(run, empty_pb2.Empty, policies.ExecuteMetadata)
        raise AssertionError("it was not cancelled")
    except OperationError as error:
        assert "Error code: 1." in str(error), error
    task = cloud.newest()
    assert (task.status, task.result_code) == (Status.COMPLETED, Code.CANCELLED), task
    again = cloud.operations.Cancel(operations.CancelOperationRequest(operation_id=f"task-{task.id}"))
    assert again.done and again.error.code == 1, again
    delete = cloud.policies.Delete(policies.DeletePolicyRequest(policy_id=policy))
    cloud.wait(delete, empty_pb2.Empty, policies.DeletePolicyMetadata)
    assert policy not in cloud.applied(), "a policy that is deleted is applied to nothing"


def directories_are_looked_at(cloud):
    items = lambda path: {i.name: i for i in cloud.resources.ListDirectory(
        resources.ListDirectoryRequest(folder_id=FOLDER, compute_instance_id=MACHINE, path=path)).items}
    kinds = resources.ListDirectoryResponse.FilesystemItem.Type
    assert all(i.type == kinds.VOLUME for i in items("").values())
    assert items(str(DATA))["sub"].type == kinds.DIRECTORY and items(str(DATA))["letter"].size == (DATA / "letter").stat().st_size
    make = resources.CreateDirectoryRequest(folder_id=FOLDER, compute_instance_id=MACHINE, path=str(BACK / "made"))
    cloud.wait(cloud.resources.CreateDirectory(make), empty_pb2.Empty, resources.CreateDirectoryMetadata)
    assert (BACK / "made").is_dir()


def machines_join(cloud):
    ask = resources.GetInstanceRegistrationTokenRequest(folder_id=FOLDER)
    token = cloud.resources.GetInstanceRegistrationToken(ask)
    assert len(token.instance_registration_id) == 36 and token.expired_at.seconds > 0, token
    # Good in the place of a bearer token where agents need it.
    service = provider_service_pb2_grpc.ProviderServiceStub(plain())
    wish = providers.ListActivatedProvidersRequest(folder_id=FOLDER, instance_registration_id=token.instance_registration_id)
    assert service.ListActivated(wish).names[0] == "backstay"
    wish.instance_registration_id = "6b8a7c1e-0000-4000-8000-000000000001"
    refused(grpc.StatusCode.UNAUTHENTICATED, service.ListActivated, wish)
    line = cloud.setup.GetAgentInstallCommand(setup.GetAgentInstallCommandRequest(
        folder_id=FOLDER, type=setup.GetAgentInstallCommandRequest.AGENT_INSTALL_BASH_EXTERNAL_VM)).command
    assert "\n" not in line and "--instance-registration-token=" in line and ENDPOINT in line, line


def deletions(cloud, policy, backup):
    delete = backups.DeleteBackupRequest(compute_instance_id=MACHINE, backup_id=backup.id)
    started = cloud.backups.Delete(delete)
    assert backup.id not in [b.id for b in cloud.all_backups()], "it is gone from lists at once"
    cloud.wait(started, empty_pb2.Empty, backups.DeleteBackupMetadata)
    refused(grpc.StatusCode.NOT_FOUND, cloud.backups.Delete, delete)
    left = cloud.all_backups(policy_id=policy)
    assert len(left) == 1 and cloud.files(left[0]), "the others are as they were"
    archive = backups.DeleteArchiveRequest(policy_id=policy, instance_id=MACHINE)
    meta = cloud.wait(cloud.backups.DeleteArchive(archive), empty_pb2.Empty, backups.DeleteArchiveMetadata).meta
    assert (meta.archive_id, meta.folder_id) == (left[0].archive_id, FOLDER), meta
    archives = cloud.backups.ListArchives(backups.ListArchivesRequest(folder_id=FOLDER)).archives
    assert meta.archive_id not in [a.id for a in archives]


def a_machine_is_taken_out(cloud):
    before = [b.id for b in cloud.all_backups()]
    assert before, "the first run of the server's own policy is still there"
    machine = cloud.resources.Get(resources.GetResourceRequest(compute_instance_id=MACHINE)).resource
    delete = resources.DeleteResourceRequest(compute_instance_id=MACHINE, resource_id=machine.resource_id)
    cloud.wait(cloud.resources.Delete(delete), empty_pb2.Empty, resources.DeleteResourceMetadata)
    assert not cloud.resources.List(resources.ListResourcesRequest(folder_id=FOLDER)).resources
    machine = cloud.resources.Get(resources.GetResourceRequest(compute_instance_id=MACHINE)).resource
    assert machine.init_status == machine.DELETED and not machine.enabled and not machine.is_active, machine
    of = lambda **wish: [b.id for b in cloud.all_backups(**wish)]
    assert of() == of(resource_id=machine.resource_id) == of(folder_id=FOLDER) == before
    refused(grpc.StatusCode.NOT_FOUND, cloud.execute, PROBE["policy"])
    assert cloud.tasks().tasks and not cloud.applied()


def reflection():
    """A client that knows nothing but what the server says of itself, over the older version of the protocol."""
    channel = plain()
    database = ProtoReflectionDescriptorDatabase(channel)
    pool = descriptor_pool.DescriptorPool(database)
    methods = {}
    for name in database.get_services():
        if not name.startswith("grpc.reflection."):
            methods[name] = len(pool.FindServiceByName(name).methods)
    services = "yandex.cloud.backup.v1."
    assert methods == {
        f"{services}ResourceService": 8, f"{services}BackupService": 8, f"{services}PolicyService": 9,
        f"{services}ProviderService": 2, f"{services}SetupService": 1, "yandex.cloud.operation.OperationService": 2,
        "yandex.cloud.iam.v1.IamTokenService": 3, "yandex.cloud.endpoint.ApiEndpointService": 2,
        "grpc.health.v1.Health": 2}, methods
    # Everything that the vendor's package knows is known here under the same number, type and name.
    for module in (resources, backups, policies, providers, setup):
        for theirs in module.DESCRIPTOR.services_by_name.values():
            ours = pool.FindServiceByName(theirs.full_name)
            for method in theirs.methods:
                mine = ours.methods_by_name[method.name]
                for one, other in (method.input_type, mine.input_type), (method.output_type, mine.output_type):
                    alike(one, other, set())
    token = iam_token_service_pb2_grpc.IamTokenServiceStub(channel).Create(
        iam.CreateIamTokenRequest(yandex_passport_oauth_token=PROBE["api_key"])).iam_token
    method = pool.FindServiceByName(f"{services}ResourceService").methods_by_name["ListTasks"]
    ask, answer = (message_factory.GetMessageClass(t) for t in (method.input_type, method.output_type))
    call = channel.unary_unary(
        f"/{method.containing_service.full_name}/{method.name}", ask.SerializeToString, answer.FromString)
    found = call(ask(compute_instance_id=MACHINE, page_size=1), metadata=[("authorization", f"Bearer {token}")])
    assert len(found.tasks) == 1 and found.next_page_token, found
    # The newer version has the same messages under another name.
    newer = channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString, reflection_pb2.ServerReflectionResponse.FromString)
    listed = next(newer(iter([reflection_pb2.ServerReflectionRequest(list_services="")])))
    assert {s.name for s in listed.list_services_response.service} >= methods.keys()


def alike(theirs, ours, seen):
    """Whether two descriptions of a message say the same, with all that is in it."""
    if theirs.full_name in seen:
        return
    seen.add(theirs.full_name)
    fields = lambda m: {(f.number, f.name, f.json_name, f.type, f.is_repeated if hasattr(f, "is_repeated") else f.label,
                         f.containing_oneof.name if f.containing_oneof else "") for f in m.fields}
    assert fields(theirs) == fields(ours), (theirs.full_name, fields(theirs) ^ fields(ours))
    for field in theirs.fields:
        other = ours.fields_by_number[field.number]
        if field.message_type:
            assert field.message_type.full_name == other.message_type.full_name, field.full_name
            alike(field.message_type, other.message_type, seen)
        if field.enum_type:
            values = lambda e: {(v.number, v.name) for v in e.values}
            assert values(field.enum_type) == values(other.enum_type), field.full_name


def run(name, function, *args):
    try:
        result = function(*args)
    except BaseException:
        print(f"{name}: failed", flush=True)
        raise
    print(f"{name}: ok", flush=True)
    return result


def main():
    for alone in discovery, key_in_the_place_of_an_oauth_token, key_of_a_service_account, tokens_end, reflection:
        run(alone.__name__, alone)
    cloud = Cloud(iam_token=PROBE["iam_token"])
    for one in (machines_and_tasks, policies_from_elsewhere_have_what_terraform_needs, a_policy_comes_back_as_it_was_written,
                a_run_is_cancelled, directories_are_looked_at, machines_join):
        run(one.__name__, one, cloud)
    policy = run("a_run_from_wish_to_recovery_point", a_run_from_wish_to_recovery_point, cloud)
    backup = run("files_come_back", files_come_back, cloud, policy)
    run("a_machine_comes_back", a_machine_comes_back, cloud, backup)
    run("deletions", deletions, cloud, policy, backup)
    run("a_machine_is_taken_out", a_machine_is_taken_out, cloud)


main()
