-- wrk's load: POST or GET, on one counter or spread over many, and a summary that a program can read.
-- Arguments: method, then the path with %s where the counter's name stands, then how many counters.

local method, path, count = nil, nil, 1
local requests = {}

function init(arguments)
  method, path, count = arguments[1], arguments[2], tonumber(arguments[3])
  math.randomseed(1)
  for index = 1, count do
    requests[index] = wrk.format(method, string.format(path, string.format('counter:%012d', index - 1)))
  end
  if count == 1 then request = function() return requests[1] end end
end

function request()
  return requests[math.random(count)]
end

function done(summary)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format('summary %d %d %d\n', summary.requests, summary.duration, failed))
end
