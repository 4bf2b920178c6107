#!lua
-- The guarded add of docs/protocol.md, for many counters in one call.
--
-- KEYS     the counters' hashes, then the keys of all their tokens, in the order of the requests
-- ARGV[1]  what packing.py packs: a header, then a request for each counter
-- returns  one answer of fixed size for each counter, joined; with known tokens a list of that and their records
--
-- A counter's hash has a field "s", its state, and a field "w:<writer>" for each writer, its session. A token is a
-- string key of its own in the counter's slot, which expires by itself.
--
-- Lua's numbers are doubles, exact up to 2^53. So a 64-bit value is two words here, the high one signed and the low
-- one not; they are added with a carry and compared word by word, which is exact everywhere. Revisions, seqs and
-- times stay below 2^53. All numbers are big-endian.
--
-- A script that fails keeps what it wrote before. Everything is therefore checked before a counter's first write, and
-- what is wrong with one counter is its own answer; the others are not touched by it. Without flags in the first line
-- the server refuses the whole call beforehand when it is out of memory, read-only or short of replicas.

local STATE, STATE_BYTES, VERSION = '>Bi4I4i8i8i8i8', 41, 1 -- version, value, revision, expires, updated, tokens_end
local SESSION, SESSION_BYTES = '>i8i4I4i8Bi8', 33 -- seq, value before, revision before, flags, time
local REQUEST = '>Bi4I4i4I4i4I4i8i8i8' -- flags, total, lo, hi, seq, acked, applied
local ANSWER = '>BBi4I4i8' -- status, exists, value, revision
local TOKEN, TOKEN_BYTES = '>i4I4i8B', 17 -- value before, revision before, existed; then the combiner's notes

local APPLIED, DUPLICATE, MISSED, CLOSED, STALE, GAP, KNOWN, CORRUPT, CROWDED, OVERFLOW = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9
local RESTART, DELETE, CLOSING, REVISION, ALIVE, DEAD, TTL = 1, 2, 4, 8, 16, 32, 64 -- 128: any of the rest
local EXISTED, NO_VALUE = 1, 2 -- a session's flags; a closing's has no value before

local NEVER = 9007199254740991 -- expires of what lives for ever: 2^53 - 1
local DEAD_KEPT = 3600000
local SESSION_KEPT = 300000
local SESSIONS_KEPT = 32
local SESSIONS_MAX = 1000
local WORD = 4294967296
local COMMANDS = -- all that it runs, and behind them what its caller does where replicas have to confirm
  {'TIME', 'HMGET', 'HGETALL', 'HLEN', 'HSET', 'HDEL', 'GET', 'SET', 'PEXPIREAT', 'PERSIST', 'WAIT'}

local pack, unpack, band, call, try = struct.pack, struct.unpack, bit.band, redis.call, redis.pcall
local packed = ARGV[1]
local count, waits, retention, own_session, position = unpack('>I2Bi8Bc0', packed)
local asked -- the command whose right is being looked at

-- A right that is missing would stop the script behind some of its writes, so all are looked at before the first, at a
-- quarter of a microsecond each. One key stands for all: the server begins no call that names a key out of bounds. A
-- command that the server does not have (renamed, perhaps) is an error here, and as good as one without a right to it.
local function missing_rights()
  local may, key, missing = redis.acl_check_cmd, KEYS[1], {}
  for index = 1, waits == 1 and #COMMANDS or #COMMANDS - 1 do
    asked = COMMANDS[index]
    if not may(asked, key) then missing[#missing + 1] = asked end
  end
  return missing[1] and table.concat(missing, ', ')
end

local checked, missing = pcall(missing_rights)
if missing then
  return redis.error_reply('NOPERM the user may not run ' .. (checked and missing or asked) .. ' on ' .. KEYS[1])
end

local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local next_token = count
local known = {}

-- What follows a request whose flags are not 0.
local function read_rest(flags)
  local rest = {
    restart = band(flags, RESTART) ~= 0,
    delete = band(flags, DELETE) ~= 0,
    closing = band(flags, CLOSING) ~= 0,
  }
  if band(flags, ALIVE) ~= 0 then rest.alive = true end
  if band(flags, DEAD) ~= 0 then rest.alive = false end
  if band(flags, REVISION) ~= 0 then
    rest.revision, position = unpack('>i8', packed, position)
  end
  if band(flags, TTL) ~= 0 then
    rest.ttl, position = unpack('>i8', packed, position)
  end
  local tokens
  rest.session, tokens, position = unpack('>Bc0I2', packed, position)
  for index = 1, tokens do
    next_token = next_token + 1
    local notes
    notes, position = unpack('>I2c0', packed, position)
    rest[index] = {key = KEYS[next_token], notes = notes}
  end
  return rest
end

-- Whether another writer's session fits. Old ones above the limit go, the oldest first.
local function has_room(key)
  local sessions = call('HLEN', key) - 1
  if sessions < SESSIONS_KEPT then return true end
  local fields, old = call('HGETALL', key), {}
  for index = 1, #fields, 2 do
    local session = fields[index + 1]
    if string.sub(fields[index], 1, 2) == 'w:' and #session == SESSION_BYTES then
      local written = unpack('>i8', session, SESSION_BYTES - 7)
      if written <= now - SESSION_KEPT then old[#old + 1] = {field = fields[index], written = written} end
    end
  end
  table.sort(old, function(one, other) return one.written < other.written end)
  for index = 1, math.min(#old, sessions - SESSIONS_KEPT + 1) do
    call('HDEL', key, old[index].field)
    sessions = sessions - 1
  end
  return sessions < SESSIONS_MAX
end

-- The status of a key that holds another type. Any other error is no answer about a counter, and ends the script.
local function no_counter(failure)
  if not string.find(failure.err, 'WRONGTYPE', 1, true) then error(failure) end
  return CORRUPT
end

-- The records of those tokens that are known already go to `known`; status KNOWN if there are any.
local function look_up(number, tokens)
  local status
  for index = 1, #tokens do
    local record = try('GET', tokens[index].key)
    if type(record) == 'table' then return no_counter(record) end
    if record and #record < TOKEN_BYTES then return CORRUPT end
    if record then
      known[#known + 1] = pack('>I2I2', number - 1, index - 1) .. record
      status = KNOWN
    end
  end
  return status
end

-- The hash of a dead record goes an hour after its last write, and not before its tokens have expired.
local function set_removal(key, existed, expires_before, expires, tokens_end)
  if expires == NEVER then
    if existed and expires_before ~= NEVER then call('PERSIST', key) end
    return
  end
  call('PEXPIREAT', key, string.format('%.0f', math.max(math.max(expires, now) + DEAD_KEPT, tokens_end)))
end

local function step(number, total_hi, total_lo, lo_hi, lo_lo, hi_hi, hi_lo, seq, acked, applied, rest)
  local key = KEYS[number]
  local session_field = rest and rest.session or own_session
  local found = try('HMGET', key, 's', session_field)
  if found.err then return no_counter(found), 0, 0, 0, 0 end
  local state, session = found[1], found[2]
  local value_hi, value_lo, revision, expires, updated, tokens_end = 0, 0, 0, 0, 0, 0
  if state then
    local version
    if #state ~= STATE_BYTES then return CORRUPT, 0, 0, 0, 0 end
    version, value_hi, value_lo, revision, expires, updated, tokens_end = unpack(STATE, state)
    if version ~= VERSION then return CORRUPT, 0, 0, 0, 0 end
  elseif session or call('HLEN', key) ~= 0 then
    return CORRUPT, 0, 0, 0, 0
  end

  if session then
    if #session ~= SESSION_BYTES then return CORRUPT, 0, 0, 0, 0 end
    local last, before_hi, before_lo, before_revision, before = unpack(SESSION, session)
    if last == seq then
      if waits == 1 then call('HSET', key, 's', state) end
      if before >= NO_VALUE then return CLOSED, before - NO_VALUE, 0, 0, before_revision end
      return DUPLICATE, before, before_hi, before_lo, before_revision
    end
    if last > seq then return STALE, 0, 0, 0, 0 end
    if last < acked then return GAP, 0, 0, 0, last end
  elseif acked > 0 then
    return GAP, 0, 0, 0, 0
  end

  local exists = expires > now and 1 or 0
  if exists == 0 then value_hi, value_lo = 0, 0 end
  if rest and rest[1] then
    local status = look_up(number, rest)
    if status then
      if status == KNOWN and waits == 1 and state then call('HSET', key, 's', state) end
      return status, exists, value_hi, value_lo, revision
    end
  end

  if value_hi < lo_hi or value_hi == lo_hi and value_lo < lo_lo
    or value_hi > hi_hi or value_hi == hi_hi and value_lo > hi_lo
    or rest and (rest.revision and rest.revision ~= revision or rest.alive ~= nil and rest.alive ~= (exists == 1)) then
    return MISSED, exists, value_hi, value_lo, revision
  end

  local after_hi, after_lo, after_revision, expires_before = value_hi, value_lo, revision, expires
  if applied > 0 then
    if rest and rest.restart then after_hi, after_lo = 0, 0 end
    after_hi, after_lo, after_revision, updated = after_hi + total_hi, after_lo + total_lo, revision + applied, now
    if after_lo >= WORD then after_hi, after_lo = after_hi + 1, after_lo - WORD end
    if after_hi < -2147483648 or after_hi > 2147483647 then return OVERFLOW, 0, 0, 0, 0 end
    if rest and rest.delete then
      expires = 0
    elseif exists == 0 then
      expires = rest and rest.ttl and now + rest.ttl or NEVER
    end
  end
  if not session and state and not has_room(key) then return CROWDED, 0, 0, 0, 0 end

  if rest and rest[1] then
    tokens_end = math.max(tokens_end, now + retention)
    local before, token_end = pack(TOKEN, value_hi, value_lo, revision, exists), string.format('%.0f', now + retention)
    for index = 1, #rest do
      call('SET', rest[index].key, before .. rest[index].notes, 'PXAT', token_end)
    end
  end
  local before = exists
  if rest and rest.closing then before = before + NO_VALUE end
  call('HSET', key, 's', pack(STATE, VERSION, after_hi, after_lo, after_revision, expires, updated, tokens_end),
    session_field, pack(SESSION, seq, value_hi, value_lo, revision, before, now))
  if expires ~= NEVER or expires_before ~= NEVER then set_removal(key, state, expires_before, expires, tokens_end) end
  return APPLIED, exists, value_hi, value_lo, revision
end

local answers = {}
for number = 1, count do
  local flags, total_hi, total_lo, lo_hi, lo_lo, hi_hi, hi_lo, seq, acked, applied
  flags, total_hi, total_lo, lo_hi, lo_lo, hi_hi, hi_lo, seq, acked, applied, position =
    unpack(REQUEST, packed, position)
  local rest = flags ~= 0 and read_rest(flags) or nil
  answers[number] = pack(ANSWER,
    step(number, total_hi, total_lo, lo_hi, lo_lo, hi_hi, hi_lo, seq, acked, applied, rest))
end
if known[1] then return {table.concat(answers), known} end
return table.concat(answers)
