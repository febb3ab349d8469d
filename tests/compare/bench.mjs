// Runs the load generator, `dormouse bench`, against one server, and says what came of it: figures, or the reason why
// there are none.

import { DORMOUSE, after, spawnWithFiles } from './servers.mjs';

/** A server that has not finished a scenario by then will not. */
export const FINISHED_WITHIN_MS = 120_000;

/**
 * Returns { report, reason }: what `dormouse bench` printed as JSON, where it did, and what went wrong, where
 * something did. Both are there where figures came with a complaint.
 */
export async function bench(server, args, withinMs = FINISHED_WITHIN_MS) {
  const command = [DORMOUSE, 'bench', ...args, '--url', server.url, '--pid', String(server.pid), '--json', '-'];
  if (server.token !== undefined) command.push('--token', server.token);
  const child = spawnWithFiles(command, ['ignore', 'pipe', 'pipe']);
  const [output, errors] = [gathered(child.stdout), gathered(child.stderr)];
  const finished = new Promise((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('close', (code) => resolve(code === 0 ? undefined : lastLine(errors.text) || `it ended with ${code}`));
  });

  const late = after(withinMs, `not finished within ${withinMs / 1000} s`);
  let reason = await Promise.race([finished, late, server.ended]);
  late.cancel();
  if (child.exitCode === null && child.signalCode === null) {
    child.kill('SIGKILL');
    await finished;
  }
  if (reason !== undefined) {
    // Where the load generator noticed first that the server is gone, that is what matters.
    const ended = await Promise.race([server.ended, after(500)]);
    reason = [...new Set([reason, ended, server.filesWereShort(), server.lastWords()])].filter(Boolean).join('; ');
  }

  let report;
  try {
    report = JSON.parse(output.text);
  } catch {
    reason ??= 'the load generator printed no JSON';
  }
  return { report, reason: reason ?? report?.complaint ?? undefined };
}

function gathered(stream) {
  const gathered = { text: '' };
  stream.setEncoding('utf8');
  stream.on('data', (text) => (gathered.text += text));
  return gathered;
}

function lastLine(text) {
  return text.trim().split('\n').at(-1).slice(0, 300);
}
