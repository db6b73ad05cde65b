-- Takes tokens from a bucket that fills up by itself.
-- KEYS[1] the bucket; ARGV: how many it holds, how many come per second, how many are wanted.
-- Answers how many were given, how many are left, and the milliseconds until there is one (0 if any was given).
local holds, per_second, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local state = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens, at = tonumber(state[1]) or holds, tonumber(state[2]) or now
tokens = math.min(holds, tokens + math.max(0, now - at) * per_second)
local given = math.min(wanted, math.floor(tokens))
tokens = tokens - given
redis.call('HSET', KEYS[1], 'tokens', string.format('%.6f', tokens), 'at', string.format('%.6f', now))
-- A bucket that is full need not be remembered.
redis.call('PEXPIRE', KEYS[1], math.ceil((holds - tokens) / per_second * 1000) + 1000)
local wait = 0
if given == 0 then wait = math.ceil((1 - tokens) / per_second * 1000) end
return {given, math.floor(tokens), wait}
