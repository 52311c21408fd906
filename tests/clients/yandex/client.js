// The vendor's package for Node, as it is published: lists tasks and reads a policy whose archives are split at one tebibyte.
// It takes numbers up to 2^53-1 and fails the whole call on a larger one.
const assert = require("node:assert");
const fs = require("node:fs");
const { Session } = require("@yandex-cloud/nodejs-sdk");
const { backupService, policyService, resourceService } = require("@yandex-cloud/nodejs-sdk/backup-v1");

const probe = JSON.parse(process.env.PROBE);
const session = new Session({ iamToken: probe.iam_token, ssl: { rootCerts: fs.readFileSync(probe.ca) } });
const resources = session.client(resourceService.ResourceServiceClient, probe.endpoint);
const policies = session.client(policyService.PolicyServiceClient, probe.endpoint);
const backups = session.client(backupService.BackupServiceClient, probe.endpoint);

async function main() {
    const { ListTasksRequest } = resourceService;
    const seen = [];
    let pageToken = "";
    do {
        const wish = { computeInstanceId: probe.instance, pageSize: 1, pageToken };
        const page = await resources.listTasks(ListTasksRequest.fromPartial(wish));
        seen.push(...page.tasks);
        pageToken = page.nextPageToken;
    } while (pageToken);
    assert(seen.length >= 2 && seen.every((task) => task.id > 0 && task.computeInstanceId === probe.instance));
    const policy = await policies.get(policyService.GetPolicyRequest.fromPartial({ policyId: probe.policy }));
    assert.strictEqual(policy.settings.splitting.size, 1099511627776);
    const found = await backups.list(backupService.ListBackupsRequest.fromPartial({ folderId: probe.folder }));
    assert(found.backups.length >= 1 && found.backups[0].originalDataSize > 0);
    console.log(`${seen.length} tasks, ${found.backups.length} backups`);
}

main().catch((error) => {
    console.error(error);
    process.exitCode = 1;
});
