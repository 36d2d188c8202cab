-- Decides about one request under several policies, all or none of them: see ratelimit.Limit. Numbers beyond 2^53
-- are pairs of 32 bits, as Lua's are doubles: what gcra does here is, to the bit, what Go and the kernel do.
--
-- KEYS: the client of each policy.
-- ARGV: force ("1" charges whatever is left), now ("" for this server's clock; else, for tests, its microseconds, and
--   high and low half of its ticks), then of each policy: shadow, "gcra", cost high, cost low, limit high, limit low
--                    or: shadow, "counter", cost, count, window in microseconds
-- Returns: now in microseconds; then of each policy whether it allows it, and its state before:
--   gcra: arrival time high, low; counter: number of the window, units, units before.
local B = 4294967296

local function add(ah, al, bh, bl)
  local l = al + bl
  if l >= B then return ah + bh + 1, l - B end
  return ah + bh, l
end

local function less(ah, al, bh, bl) return ah < bh or ah == bh and al < bl end

-- product is a * b in digits of 2^25, both below 2^50.
local D = 33554432
local function product(a, b)
  local a1, b1 = math.floor(a / D), math.floor(b / D)
  local a0, b0 = a - a1 * D, b - b1 * D
  local low = a0 * b0
  local mid = a1 * b0 + a0 * b1 + math.floor(low / D)
  return a1 * b1 + math.floor(mid / D), mid % D, low % D
end

local function above(a, b, c, d) -- a * b > c * d
  local ah, am, al = product(a, b)
  local ch, cm, cl = product(c, d)
  return ah > ch or ah == ch and (am > cm or am == cm and al > cl)
end

-- weigh is n * part / whole, rounded up.
local function weigh(n, part, whole)
  local q = math.floor(n * (part / whole))
  while q > 0 and not above(n, part, q - 1, whole) do q = q - 1 end
  while above(n, part, q, whole) do q = q + 1 end
  return q
end

local force = ARGV[1] == '1'
local us, nh, nl, at
if ARGV[2] == '' then
  local t = redis.call('TIME')
  us = (tonumber(t[1]) - 1577836800) * 1000000 + tonumber(t[2]) -- since 2020, so that ticks fit 64 bits
  local high = math.floor(us / B)
  local low = (us - high * B) * 16000
  nh, nl = high * 16000 + math.floor(low / B), low % B
  at = 3
else
  us, nh, nl = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
  at = 5
end

local result = {us}
local allowed = true
local writes = {}
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
    if (ok or force) and ch + cl > 0 then
      -- Nothing is owed after that: the key goes by itself.
      local ms = math.ceil(((th - nh) * B + tl - nl) / 16000000) + 1
      writes[#writes + 1] = {key, struct.pack('>I4I4', th, tl), ms}
    end
  else
    local cost, count, window = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
    at = at + 5
    local number, units, before = math.floor(us / window), 0, 0
    local last = -1
    if old then
      local a, b, c = string.match(old, '(%d+):(%d+):(%d+)')
      last, units, before = tonumber(a), tonumber(b), tonumber(c)
    end
    result[#result + 1] = 0
    local said = #result
    result[#result + 1], result[#result + 2], result[#result + 3] = last, units, before
    if last + 1 == number then
      units, before = 0, units
    elseif last < number then
      units, before = 0, 0
    end
    local used = units + weigh(before, window - us % window, window)
    ok = used + cost <= count
    if ok then result[said] = 1 end
    if (ok or force) and cost > 0 then
      units = math.min(units + cost, 1125899906842623)
      writes[#writes + 1] = {key, string.format('%.0f:%.0f:%.0f', number, units, before), math.ceil((2 * window - us % window) / 1000) + 1}
    end
  end
  allowed = allowed and (ok or shadow)
end
if allowed or force then
  for _, w in ipairs(writes) do redis.call('SET', w[1], w[2], 'PX', string.format('%.0f', w[3])) end
end
return result
