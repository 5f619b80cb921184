-- Where a name leads: a dictionary that all workers share, old and new, and that outlives reloads.
-- proxy-sync changes it over the control socket; a fresh nginx fills it from the stored route map.

local balancer = require "ngx.balancer"
local ffi = require "ffi"

ffi.cdef "unsigned char *SHA256(const unsigned char *data, size_t length, unsigned char *digest);"

local routes = ngx.shared.claw_routes
local GENERATION = "_generation"  -- without it the dictionary is not whole, and nobody is told "unknown"
local LOADING = "_loading"  -- the newest table that began to load: an earlier one that was held up must end
local PAUSE = 500  -- lines between two breaths of a worker

local KEY_LENGTH = 64

local M = {}
local key

function M.find()
    return routes:get(ngx.var.instance_label) or (routes:get(GENERATION) and "unknown" or "unloaded")
end

function M.generation()
    return routes:get(GENERATION)
end

function M.balance()
    local ok, why = balancer.set_current_peer(ngx.var.claw_upstream)
    if not ok then
        ngx.log(ngx.CRIT, "not an upstream: ", why)
        return ngx.exit(502)
    end
end

local function sha256(text)
    local digest = ffi.new("unsigned char[32]")
    ffi.C.SHA256(text, #text, digest)
    return (ffi.string(digest, 32):gsub(".", function(char) return ("%02x"):format(char:byte()) end))
end

local function parse(text)
    local header = "^# clawstead routes: generation (%d+), (%d+) lines, sha256 (%x+)\n"
    local _, last, generation, count, digest = text:find(header)
    if not last then
        return nil, "has no header"
    end
    if sha256(text:sub(last + 1)) ~= digest then
        return nil, "was cut short or edited"
    end
    local lines, found = {}, 0
    while true do
        local _, stop, label, upstream = text:find('^"([%w-]+)" ([%d%x.:%[%]]+:%d+);\n', last + 1)
        if not stop then
            break
        end
        lines[label], found, last = upstream, found + 1, stop
    end
    if found ~= tonumber(count) or text:sub(last + 1) ~= '"' .. GENERATION .. '" ' .. generation .. ";\n" then
        return nil, "is damaged after line " .. found + 1
    end
    return lines, tonumber(generation)
end

local function read(path)
    local file, why = io.open(path, "r")
    if not file then
        return nil, why
    end
    local text = file:read("*a")
    file:close()
    return parse(text)
end

local function replace(lines, generation, breathe)
    routes:delete(GENERATION)
    for _, label in ipairs(routes:get_keys(0)) do
        if not lines[label] and label ~= LOADING then
            routes:delete(label)
        end
    end
    local done = 0
    for label, upstream in pairs(lines) do
        local ok, why = routes:safe_set(label, upstream)
        if not ok then
            return nil, why
        end
        done = done + 1
        if done % PAUSE == 0 and not breathe() then
            return nil, "another table came"
        end
    end
    return routes:safe_set(GENERATION, generation)
end

-- In a reload the dictionary is there already, and newer than the file.
function M.begin(path)
    if routes:get(GENERATION) then
        return
    end
    local lines, generation = read(path)
    local ok, why = lines, generation
    if lines then
        ok, why = replace(lines, generation, function() return true end)
    end
    if not ok then
        ngx.log(ngx.CRIT, "no routes, for the route map ", why)
    end
end

-- By the master, who may read a file that is nobody else's.
function M.learn(path)
    local file = io.open(path, "r")
    if file then
        key = file:read(KEY_LENGTH)
        file:close()
    end
end

function M.guard()
    if not key or #key ~= KEY_LENGTH or ngx.var.http_x_clawstead_key ~= key then
        return ngx.exit(ngx.HTTP_FORBIDDEN)
    end
end

local function answer(status, text)
    ngx.status = status
    ngx.print(text)
    return ngx.exit(ngx.HTTP_OK)
end

-- Body: a line "label upstream" or "label -" for each change.
function M.change(from, to)
    ngx.req.read_body()
    local body = ngx.req.get_body_data() or ""
    if routes:get(GENERATION) ~= tonumber(from) then
        return answer(409, "another generation is served")
    end
    for label, upstream in body:gmatch("([%w-]+) (%S+)\n") do
        local ok, why = true, nil
        if upstream == "-" then
            routes:delete(label)
        else
            ok, why = routes:safe_set(label, upstream)
        end
        if not ok then
            -- Half of the change is no generation: the whole table has to come.
            routes:delete(GENERATION)
            return answer(507, why)
        end
    end
    routes:set(GENERATION, tonumber(to))
    return answer(200, to)
end

function M.load(path, to)
    local lines, generation = read(path)
    if not lines or generation ~= tonumber(to) then
        return answer(409, "the route map " .. (lines and "is another one" or generation))
    end
    routes:set(LOADING, generation)
    local ok, why = replace(lines, generation, function()
        ngx.sleep(0)
        return routes:get(LOADING) == generation
    end)
    if not ok then
        return answer(507, why)
    end
    return answer(200, to)
end

function M.dump()
    local lines = { (routes:get(GENERATION) or "none") .. "\n" }
    for _, label in ipairs(routes:get_keys(0)) do
        if label ~= GENERATION and label ~= LOADING then
            lines[#lines + 1] = label .. " " .. (routes:get(label) or "-") .. "\n"
        end
    end
    return answer(200, lines)
end

package.loaded["clawstead.routes"] = M
