local value = tonumber(redis.call('GET', KEYS[1]) or 0)
if ARGV[1] ~= '' and value >= tonumber(ARGV[1]) then
  return {0, value}
end
return {1, redis.call('INCR', KEYS[1])}
