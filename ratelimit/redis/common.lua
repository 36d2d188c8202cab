-- What the scripts share: see take.lua and lease.lua, each of which is sent behind this. Numbers beyond 2^53 are pairs
-- of 32 bits, as Lua's are doubles: what is done here is, to the bit, what Go and the kernel do.
local B = 4294967296

local function add(ah, al, bh, bl)
  local l = al + bl
  if l >= B then return ah + bh + 1, l - B end
  return ah + bh, l
end

-- sub is for a not below b.
local function sub(ah, al, bh, bl)
  if al < bl then return ah - bh - 1, al - bl + B end
  return ah - bh, al - bl
end

local function less(ah, al, bh, bl) return ah < bh or ah == bh and al < bl end

-- product is a * b in digits of 2^25, both below 2^50.
local D = 33554432
local MOST = 1125899906842623 -- units of a window
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

-- clock is the time: microseconds, and high and low half of its ticks; from ARGV for tests, else this server's. The last
-- is where ARGV goes on.
local function clock(at)
  if ARGV[at] ~= '' then return tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), at + 3 end
  local t = redis.call('TIME')
  local us = (tonumber(t[1]) - 1577836800) * 1000000 + tonumber(t[2]) -- since 2020, so that ticks fit 64 bits
  local high = math.floor(us / B)
  local low = (us - high * B) * 16000
  return us, high * 16000 + math.floor(low / B), low % B, at + 1
end

-- counted is a sliding counter's state: the window that it was written in, -1 if never, its units, and those before.
local function counted(old)
  if not old then return -1, 0, 0 end
  local number, units, before = string.match(old, '(%d+):(%d+):(%d+)')
  return tonumber(number), tonumber(units), tonumber(before)
end

-- turned is what it says in the window of that number.
local function turned(last, units, before, number)
  if last + 1 == number then return 0, units end
  if last < number then return 0, 0 end
  return units, before
end

-- Each write is a key, its value and for how many milliseconds: after that nothing is owed, and it goes by itself.
local writes = {}

local function write_arrival(key, th, tl, nh, nl)
  writes[#writes + 1] = {key, struct.pack('>I4I4', th, tl), math.ceil(((th - nh) * B + tl - nl) / 16000000) + 1}
end

local function write_counted(key, number, units, before, us, window)
  writes[#writes + 1] = {key, string.format('%.0f:%.0f:%.0f', number, units, before), math.ceil((2 * window - us % window) / 1000) + 1}
end

local function write_all()
  for _, w in ipairs(writes) do redis.call('SET', w[1], w[2], 'PX', string.format('%.0f', w[3])) end
end
