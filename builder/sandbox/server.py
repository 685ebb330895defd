class SpawnServer: pass
