/**
 * Stands in for `cloudflare:workers` where a test is compiled. A test hands its classes over as text, and their names mean
 * those of the package there.
 */
export class DurableObject {}
export class WorkerEntrypoint {}
export class WorkflowEntrypoint {}
export class RpcTarget {}
export const env = {};
export const waitUntil = () => {};
