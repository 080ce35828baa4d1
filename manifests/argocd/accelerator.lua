-- Health of an Accelerator: Healthy when plans use it.
local health = {status = "Progressing", message = "the operator has not seen this generation yet"}
local status = obj.status
if status == nil or status.conditions == nil then
  return health
end
if status.observedGeneration ~= obj.metadata.generation then
  return health
end
for _, condition in ipairs(status.conditions) do
  if condition.type == "Accepted" then
    health.status = condition.status == "True" and "Healthy" or "Degraded"
    health.message = condition.reason .. ": " .. condition.message
  end
end
return health
