class Command: pass
class Overlay: pass
