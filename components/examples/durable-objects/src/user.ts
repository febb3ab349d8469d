/** A user as the host verified it: the one addition to Cloudflare's types. */
export type User = NonNullable<Request["user"]>;
