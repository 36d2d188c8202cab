-- Leases units of policies' clients to a gateway, which spends them without asking: see lease.go, and common.lua.
--
-- KEYS: the clients.
-- ARGV: now (as of take.lua), then of each client, in this order of what is done: units that are given back, units that
--   were spent without asking and are charged whatever is left, and how many are wanted, the most first:
--   "gcra", back high, low, spent high, low, limit high, low, choices, then of each its cost high, low
--   "counter", back, number of the window that they were charged in, spent, count, window in microseconds, choices,
--     then of each its units
-- Returns: now in microseconds; then of each client which of the choices is charged, the first that fits, 0 for none,
--   and its state after: as of take.lua.
local us, nh, nl, at = clock(1)

local result = {us}
for i, key in ipairs(KEYS) do
  local old = redis.call('GET', key)
  local chosen, changed = 0, false
  if ARGV[at] == 'gcra' then
    local n = {}
    for j = 1, 7 do n[j] = tonumber(ARGV[at + j]) end
    at = at + 8
    local top, topLow = add(nh, nl, n[5], n[6])
    local far, farLow = add(top, topLow, n[5], n[6])
    local th, tl = 0, 0
    if old then th, tl = struct.unpack('>I4I4', old) end
    if less(th, tl, nh, nl) then th, tl = nh, nl end
    if less(far, farLow, th, tl) then th, tl = far, farLow end
    if n[1] + n[2] > 0 then
      changed = true
      local h, l = add(nh, nl, n[1], n[2])
      if less(th, tl, h, l) then th, tl = nh, nl else th, tl = sub(th, tl, n[1], n[2]) end
    end
    if n[3] + n[4] > 0 then
      changed = true
      th, tl = add(th, tl, n[3], n[4])
      if less(far, farLow, th, tl) then th, tl = far, farLow end
    end
    for j = 1, n[7] do
      local h, l = add(th, tl, tonumber(ARGV[at]), tonumber(ARGV[at + 1]))
      at = at + 2
      if chosen == 0 and not less(top, topLow, h, l) then chosen, th, tl = j, h, l end
    end
    if chosen > 0 or changed then write_arrival(key, th, tl, nh, nl) end
    result[#result + 1], result[#result + 2], result[#result + 3] = chosen, th, tl
  else
    local back, from, spent = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
    local count, window, choices = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6])
    at = at + 7
    local number = math.floor(us / window)
    local last, units, before = counted(old)
    units, before = turned(last, units, before, number)
    -- Of what was charged before the last window nothing counts.
    if back > 0 then
      changed = true
      if from >= number then
        units = math.max(units - back, 0)
      elseif from + 1 == number then
        before = math.max(before - back, 0)
      end
    end
    if spent > 0 then
      changed = true
      units = math.min(units + spent, MOST)
    end
    local used = units + weigh(before, window - us % window, window)
    for j = 1, choices do
      local n = tonumber(ARGV[at])
      at = at + 1
      if chosen == 0 and used + n <= count then chosen, units = j, units + n end
    end
    if chosen > 0 or changed then write_counted(key, number, units, before, us, window) end
    result[#result + 1], result[#result + 2], result[#result + 3], result[#result + 4] = chosen, number, units, before
  end
end
write_all()
return result
