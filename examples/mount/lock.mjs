#!/usr/bin/env node
// A lock in Node.js: a file in a folder where relockfs is mounted.
//
//   node lock.mjs DIR NAME acquire    wait for the lock, hold it until a line is read
//   node lock.mjs DIR NAME try        the same, but say "busy" instead of waiting
//   node lock.mjs DIR NAME look       who has it?
//
// To open DIR/NAME for writing is to acquire the lock NAME; to close it, or to
// end, even by kill -9, is to release it.
//
// fs.openSync() would stop the event loop while it waits.  fs.open() waits in a
// thread of libuv's pool, which has four (UV_THREADPOOL_SIZE): when four opens
// wait, all other work of the pool waits behind them, that is nearly all of fs,
// dns.lookup(), much of crypto and zlib, and an asynchronous close() of the very
// lock that they wait for.  So a lock is given back with closeSync(), which needs
// no thread and never waits.  A FileHandle of fs.promises would be closed by the
// garbage collector; a plain descriptor is not.
//
// process.exit() joins the pool, so it hangs while an open waits.  A signal that
// has no handler ends the process all the same.
import fs from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';

const open = promisify(fs.open);
const usage = 'usage: lock.mjs DIR NAME acquire|try|look';

async function hold(lock) {
  fs.writeSync(lock, 'from Node\n'); // what others read there
  console.log('held');
  for await (const line of createInterface({ input: process.stdin })) break;
  fs.closeSync(lock);
}

async function attempt(file) {
  let lock;
  try {
    lock = await open(file, 'wx');
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
    console.log('busy');
    return;
  }
  await hold(lock);
}

async function look(dir, file) {
  try {
    // Not readFile(), which reads as much as the file had when it asked for the
    // size: the text may have grown since, by a waiter.
    process.stdout.write(await text(fs.createReadStream(file)));
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
    fs.statSync(dir); // throws if it is the folder that is not there
    console.log('free');
  }
}

const [dir, name, action] = process.argv.slice(2);
try {
  if (process.argv.length !== 5) throw new Error(usage);
  const file = path.join(dir, name);
  if (action === 'acquire') await hold(await open(file, 'w')); // waits for its turn
  else if (action === 'try') await attempt(file);
  else if (action === 'look') await look(dir, file);
  else throw new Error(usage);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
