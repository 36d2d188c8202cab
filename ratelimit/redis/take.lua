-- Decides about one request under several policies, all or none of them: see ratelimit.Limit, and common.lua.
--
-- KEYS: the client of each policy.
-- ARGV: force ("1" charges whatever is left), now ("" for this server's clock; else, for tests, its microseconds, and
--   high and low half of its ticks), then of each policy: shadow, "gcra", cost high, cost low, limit high, limit low
--                    or: shadow, "counter", cost, count, window in microseconds
-- Returns: now in microseconds; then of each policy whether it allows it, and its state before:
--   gcra: arrival time high, low; counter: number of the window, units, units before.
local force = ARGV[1] == '1'
local us, nh, nl, at = clock(2)

local result = {us}
local allowed = true
for i, key in ipairs(KEYS) do
  local shadow, ok = ARGV[at] == '1', false
  local old = redis.call('GET', key)
  if ARGV[at + 1] == 'gcra' then
    local ch, cl, lh, ll = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
    at = at + 6
    local th, tl = 0, 0
    if old then th, tl = struct.unpack('>I4I4', old) end
    result[#result + 1] = 0
    local said = #result
    result[#result + 1], result[#result + 2] = th, tl
    local top, topLow = add(nh, nl, lh, ll)
    local far, farLow = add(top, topLow, lh, ll)
    if less(th, tl, nh, nl) then th, tl = nh, nl end
    if less(far, farLow, th, tl) then th, tl = far, farLow end
    th, tl = add(th, tl, ch, cl)
    ok = not less(top, topLow, th, tl)
    if less(far, farLow, th, tl) then th, tl = far, farLow end
    if ok then result[said] = 1 end
    if (ok or force) and ch + cl > 0 then write_arrival(key, th, tl, nh, nl) end
  else
    local cost, count, window = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
    at = at + 5
    local number = math.floor(us / window)
    local last, units, before = counted(old)
    result[#result + 1] = 0
    local said = #result
    result[#result + 1], result[#result + 2], result[#result + 3] = last, units, before
    units, before = turned(last, units, before, number)
    ok = units + weigh(before, window - us % window, window) + cost <= count
    if ok then result[said] = 1 end
    if (ok or force) and cost > 0 then
      write_counted(key, number, math.min(units + cost, MOST), before, us, window)
    end
  end
  allowed = allowed and (ok or shadow)
end
if allowed or force then write_all() end
return result
