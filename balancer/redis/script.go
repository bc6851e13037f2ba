package redis

import goredis "github.com/redis/go-redis/v9"

// claimScript binds a key to a server if the key has none, or has the one to be replaced.
// It returns the server of the key, and the TTL in ms that the binding had.
//
// KEYS[1] is the binding, ARGV[1] the key of the proposed server, ARGV[2] that of the one
// to be replaced or "", ARGV[3] the TTL in ms if the proposed server is the answer, ARGV[4]
// the longest TTL that this replaces, ARGV[5] the TTL if another server is the answer, which
// is shorter and replaces no longer one: a relay that only follows a binding does not make it
// look renewed. With ARGV[6] and ARGV[7] a binding to another server is kept only if its TTL
// is above the one and not above the other, or if it has none. A value that is longer than the
// key of any server is replaced.
var claimScript = goredis.NewScript(`
local at = redis.call('GETRANGE', KEYS[1], 0, 512)
if at ~= '' and #at <= 512 and at ~= ARGV[2] then
  local left = redis.call('PTTL', KEYS[1])
  local mine = at == ARGV[1]
  if mine or not ARGV[6] or left < 0 or left > tonumber(ARGV[6]) and left <= tonumber(ARGV[7]) then
    if left >= 0 and left <= tonumber(ARGV[mine and 4 or 5]) then
      redis.call('PEXPIRE', KEYS[1], ARGV[mine and 3 or 5])
    end
    return {at, left}
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
return {ARGV[1], tonumber(ARGV[3])}
`)

// dropScript removes a binding that is not proven.
//
// KEYS[1] is the binding, ARGV[1] the server's key, ARGV[2] the longest TTL in ms of a
// binding that is not proven; if it is a publisher's, its TTL is also above ARGV[3] and not
// above ARGV[4].
var dropScript = goredis.NewScript(`
if redis.call('GETRANGE', KEYS[1], 0, 512) == ARGV[1] then
  local left = redis.call('PTTL', KEYS[1])
  if left >= 0 and left <= tonumber(ARGV[2]) or left > tonumber(ARGV[3]) and left <= tonumber(ARGV[4]) then
    return redis.call('DEL', KEYS[1])
  end
end
return 0
`)

// readScript reads the entries of a stream that follow an ID. It returns the ID of the
// stream's last entry, or "", and the ID and the value of each entry that it read. The value
// is "" if it is too long or its field is another one.
//
// KEYS[1] is the stream, ARGV[1] the ID, ARGV[2] the most entries to read, ARGV[3] the
// bytes after which to stop, ARGV[4] the longest value, ARGV[5] its field. It reads entries
// one by one, so that a long one does not come with others.
var readScript = goredis.NewScript(`
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local all = {last[1] and last[1][1] or ''}
local from, bytes = ARGV[1], 0
for _ = 1, tonumber(ARGV[2]) do
  local got = redis.call('XREAD', 'COUNT', 1, 'STREAMS', KEYS[1], from)
  if not got then break end
  local entry = got[1][2][1]
  local text = entry[2][2]
  from, bytes = entry[1], bytes + #text
  if #text > tonumber(ARGV[4]) or entry[2][1] ~= ARGV[5] then text = '' end
  all[#all + 1] = from
  all[#all + 1] = text
  if bytes >= tonumber(ARGV[3]) then break end
end
return all
`)

// listScript removes keys from a JSON array and adds others, in one step, where SRS's proxy
// reads and writes in two.
//
// KEYS[1] is the array, ARGV[1] how many of the following arguments to remove; the rest are
// added.
var listScript = goredis.NewScript(`
local text = redis.call('GET', KEYS[1])
local ok, old = pcall(cjson.decode, text or '[]')
if not ok or type(old) ~= 'table' then old = {} end
local out = tonumber(ARGV[1])
local drop = {}
for i = 2, out + 1 do drop[ARGV[i]] = true end
local new = {}
for _, key in ipairs(old) do
  if not drop[key] then
    drop[key] = true
    new[#new + 1] = key
  end
end
for i = out + 2, #ARGV do
  if not drop[ARGV[i]] then new[#new + 1] = ARGV[i] end
end
redis.call('SET', KEYS[1], #new > 0 and cjson.encode(new) or '[]')
return #new
`)
