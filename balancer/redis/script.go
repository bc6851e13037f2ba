package redis

import goredis "github.com/redis/go-redis/v9"

// claimScript returns the server of a key and how long its binding had to live, in ms,
// and binds the key there if it is new, or if its present server must not keep it any
// more.
//
// KEYS[1] the binding; ARGV[1] the server's key that is proposed; ARGV[2] the one
// to be replaced, "" for none; ARGV[3] the TTL in ms of the proposal; ARGV[4]
// the least TTL in ms of another answer. A longer TTL is not cut short, and who
// only follows a binding does not make it look renewed. What is longer than any
// server's key is none, and is replaced.
var claimScript = goredis.NewScript(`
local at = redis.call('GETRANGE', KEYS[1], 0, 512)
if at ~= '' and #at <= 512 and at ~= ARGV[2] then
  local left = redis.call('PTTL', KEYS[1])
  local ttl = tonumber(ARGV[at == ARGV[1] and 3 or 4])
  if left >= 0 and left < ttl then
    redis.call('PEXPIRE', KEYS[1], ttl)
  end
  return {at, left}
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
return {ARGV[1], tonumber(ARGV[3])}
`)

// dropScript removes a binding that nothing has proven.
//
// KEYS[1] the binding; ARGV[1] the server's key; ARGV[2] the longest TTL in ms of
// a binding that is not proven.
var dropScript = goredis.NewScript(`
if redis.call('GETRANGE', KEYS[1], 0, 512) == ARGV[1] then
  local left = redis.call('PTTL', KEYS[1])
  if left >= 0 and left <= tonumber(ARGV[2]) then
    return redis.call('DEL', KEYS[1])
  end
end
return 0
`)

// readScript reads the entries of a stream after one, and answers the ID of the last
// entry that there is, "" for none, and of each that was read its ID and its
// value, "" for one that is too long or no notice.
//
// KEYS[1] the stream; ARGV[1] the ID after which; ARGV[2] how many at most;
// ARGV[3] after how many bytes no more; ARGV[4] the longest value; ARGV[5] its
// field. It reads one by one, so that a long one does not come with others.
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

// listScript takes keys out of a JSON array and puts keys in, in one step: SRS's
// proxy reads and writes it in two.
//
// KEYS[1] the array; ARGV[1] how many of the following go out, the rest go in.
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
