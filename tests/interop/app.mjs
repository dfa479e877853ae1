// A Fedify application that lives in memory. `/control/…` tells its actors what to do, `/seen` says what came and went.
//
// `node app.mjs HOST FIRST_KNOCK` listens on a free port of HOST, prints its origin, and ends with its standard input.

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { createFederation, InProcessMessageQueue, MemoryKvStore } from "@fedify/fedify";
import {
  Accept, Announce, Create, Delete, Follow, Like, Note, Offer, Person, PUBLIC_COLLECTION, Tombstone, Undo, Update,
} from "@fedify/vocab";

const [host, firstKnock] = process.argv.slice(2);
const RSA = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256", modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]) };
// Fedify signs requests with RSA only, so that an actor without such a key sends proofs and nothing else.
const KINDS = { gigs: [RSA.name, "Ed25519"], prover: ["Ed25519"] };
const seen = { heard: [], came: [], went: [], failures: [] };
const failed = (what, error) => { seen.failures.push(`${what}: ${error?.stack ?? error}`); };

// Fedify would take seconds for a key of twice this length.
const makeKey = (kind) => crypto.subtle.generateKey(kind === RSA.name ? RSA : kind, true, ["sign", "verify"]);
const makeKeys = (name) => Promise.all(KINDS[name].map(makeKey));
const keys = {};
for (const name of Object.keys(KINDS)) keys[name] = await makeKeys(name);
const followers = { gigs: new Map(), prover: new Map() };
const follows = new Map();
// Standards that it acts as if it had never heard of, as older servers have not.
const refused = new Set();

function noted(headers, body) {
  const rfc9421 = headers.get("signature-input");
  const scheme = rfc9421 ? "rfc9421" : headers.get("signature") ? "draft-cavage" : "none";
  const said = body ? JSON.parse(body) : {};
  return {
    scheme, verb: said.type, id: said.id, body, proved: said.proof !== undefined,
    signature: rfc9421 ?? headers.get("signature"),
  };
}

// Node 20 has no navigator, which Fedify looks at and whose absence it does not expect.
globalThis.navigator ??= { userAgent: `Node.js/${process.versions.node}` };
const plainFetch = globalThis.fetch;
globalThis.fetch = async (input, init) => {
  const asked = new Request(input, init);
  // Accounts are looked up over https only. Here nobody ends TLS before the nodes, which are all on this host.
  const url = asked.url.replace(/^https:\/\/127\./, "http://127.");
  if (!url.startsWith("http://127.")) {
    failed("fetch", `${url} is not on this machine`);
    throw new TypeError(`${url} is not on this machine`);
  }
  const body = asked.method === "POST" ? await asked.clone().text() : undefined;
  const answer = await plainFetch(url === asked.url ? asked : new Request(url, asked));
  if (body) seen.went.push({ ...noted(asked.headers, body), status: answer.status });
  return answer;
};

const listening = createServer();
await new Promise((done) => listening.listen(0, host, done));
const origin = `http://${host}:${listening.address().port}`;
const federation = createFederation({
  kv: new MemoryKvStore(), queue: new InProcessMessageQueue(), origin, allowPrivateAddress: true, firstKnock,
  onOutboxError: (error) => failed("outbox", error),
});

federation.setActorDispatcher("/users/{identifier}", async (context, identifier) => {
  if (!(identifier in KINDS)) return null;
  const pairs = await context.getActorKeyPairs(identifier);
  const rsa = pairs.find((pair) => pair.privateKey.algorithm.name !== "Ed25519");
  return new Person({
    id: context.getActorUri(identifier),
    preferredUsername: identifier,
    name: `The ${identifier}`,
    inbox: context.getInboxUri(identifier),
    followers: context.getFollowersUri(identifier),
    publicKey: rsa?.cryptographicKey,
    assertionMethods: pairs.map((pair) => pair.multikey),
  });
}).setKeyPairsDispatcher((_context, identifier) => keys[identifier] ?? []);
federation.setFollowersDispatcher("/users/{identifier}/followers", (_context, identifier) => ({
  items: [...followers[identifier].values()],
}));

async function hear(context, verb, activity) {
  const object = await activity.getObject(context).catch(() => null);
  seen.heard.push({
    verb, id: activity.id?.href, actor: activity.actorId?.href, object: activity.objectId?.href,
    kind: object?.constructor.name, name: object?.name?.toString(), content: object?.content?.toString(),
  });
  return object;
}

const only = (verb) => (context, activity) => hear(context, verb, activity);
federation.setInboxListeners("/users/{identifier}/inbox", "/inbox")
  .on(Follow, async (context, follow) => {
    await hear(context, "Follow", follow);
    const follower = await follow.getActor(context);
    const { identifier } = context.parseUri(follow.objectId);
    followers[identifier].set(follower.id.href, follower);
    const actor = context.getActorUri(identifier);
    const accept = new Accept({ id: fresh("activities"), actor, to: follower.id, object: follow });
    await context.sendActivity({ identifier }, follower, accept);
  })
  .on(Undo, async (context, undo) => {
    const undone = await hear(context, "Undo", undo);
    if (!(undone instanceof Follow)) return;
    const { identifier } = context.parseUri(undone.objectId);
    followers[identifier].delete(undo.actorId.href);
  })
  .on(Accept, only("Accept"))
  .on(Create, only("Create"))
  .on(Update, only("Update"))
  .on(Delete, only("Delete"))
  .on(Offer, only("Offer"))
  .onError((_context, error) => failed("inbox", error));

const fresh = (folder) => new URL(`/${folder}/${randomUUID()}`, origin);
const context = () => federation.createContext(new URL(origin), undefined);

async function send(as, verb, fields, to = "followers") {
  const here = context();
  const activity = new verb({ id: fresh("activities"), actor: here.getActorUri(as), ...fields });
  await here.sendActivity({ identifier: as }, to, activity);
  return activity;
}

const note = (as, id, content) => new Note({
  id, content, attribution: context().getActorUri(as), to: PUBLIC_COLLECTION, cc: context().getFollowersUri(as),
});
const about = (activity) => ({ activity: activity.id.href, object: activity.objectId.href });

const controls = {
  async find({ named }) {
    const found = await context().lookupObject(named);
    return {
      kind: found?.constructor.name, id: found?.id?.href, name: found?.name?.toString(), inbox: found?.inboxId?.href,
    };
  },
  async members({ named }) {
    const collection = await context().lookupObject(named);
    const members = [];
    for await (const member of context().traverseCollection(collection)) {
      members.push({ kind: member.constructor.name, id: member.id?.href });
    }
    return members;
  },
  webfinger: async ({ resource }) => context().lookupWebFinger(resource),
  async follow({ as = "gigs", named }) {
    const followed = await context().lookupObject(named);
    const follow = await send(as, Follow, { object: followed.id, to: followed.id }, followed);
    follows.set(follow.id.href, { as, follow, followed });
    return about(follow);
  },
  async undo({ activity }) {
    const { as, follow, followed } = follows.get(activity);
    return about(await send(as, Undo, { object: follow, to: followed.id }, followed));
  },
  async publish({ as = "gigs", content }) {
    const object = note(as, fresh("notes"), content);
    return about(await send(as, Create, { object, to: PUBLIC_COLLECTION }));
  },
  async update({ as = "gigs", object, content }) {
    return about(await send(as, Update, { object: note(as, new URL(object), content), to: PUBLIC_COLLECTION }));
  },
  async delete({ as = "gigs", object }) {
    return about(await send(as, Delete, { object: new Tombstone({ id: new URL(object) }), to: PUBLIC_COLLECTION }));
  },
  async react({ as = "gigs", how, named, content }) {
    const here = context();
    const object = await here.lookupObject(named);
    const to = await object.getAttribution(here);
    const cc = PUBLIC_COLLECTION;
    if (how === "reply") {
      const reply = new Note({ id: fresh("notes"), content, attribution: here.getActorUri(as), replyTarget: object.id, to: cc });
      return about(await send(as, Create, { object: reply, to: cc }, to));
    }
    const made = await send(as, how === "like" ? Like : Announce, { object: object.id, to: cc }, to);
    return about(made);
  },
  async retract({ as = "gigs", how, activity, object, named }) {
    const to = await context().lookupObject(named);
    const undone = new (how === "like" ? Like : Announce)({ id: new URL(activity), actor: context().getActorUri(as), object: new URL(object) });
    return about(await send(as, Undo, { object: undone, to: to.id }, to));
  },
  async refuse({ scheme }) {
    refused.add(scheme);
    return {};
  },
  async rotate({ as = "gigs" }) {
    keys[as] = await makeKeys(as);
    return {};
  },
};

async function answer(request, body) {
  const path = new URL(request.url).pathname;
  if (path === "/seen") {
    const following = Object.entries(followers).map(([name, all]) => [name, [...all.keys()]]);
    return Response.json({ ...seen, followers: Object.fromEntries(following) });
  }
  if (path.startsWith("/control/")) return Response.json(await controls[path.slice(9)](JSON.parse(body)));
  const came = noted(request.headers, body);
  const answered = refused.has(came.scheme)
    ? new Response("unknown signature", { status: 401 })
    : await federation.fetch(request, { contextData: undefined });
  if (body) seen.came.push({ ...came, status: answered.status });
  return answered;
}

listening.on("request", async (incoming, outgoing) => {
  try {
    const chunks = await incoming.toArray();
    const body = chunks.length ? Buffer.concat(chunks).toString() : undefined;
    const request = new Request(new URL(incoming.url, origin), { method: incoming.method, headers: incoming.headers, body });
    const answered = await answer(request, body);
    const bytes = Buffer.from(await answered.arrayBuffer());
    outgoing.writeHead(answered.status, { ...Object.fromEntries(answered.headers), "content-length": bytes.length });
    outgoing.end(bytes);
  } catch (error) {
    failed(incoming.url, error);
    outgoing.writeHead(500, { "content-type": "text/plain" }).end(String(error?.stack ?? error));
  }
});
process.stdin.resume().on("end", () => process.exit());
console.log(origin);
